"""Images for Docker sandboxes: recipes, the builder, and the scan for hidden data."""
