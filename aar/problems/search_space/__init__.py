"""What a problem offers so that the offline researcher can search over its methods."""
