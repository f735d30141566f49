"""API to launch and steer campaigns and to decide about submissions."""
