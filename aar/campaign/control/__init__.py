"""Controls a campaign from any process - requests, steering, decisions, and the controller's lock."""
