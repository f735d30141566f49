"""Controls a campaign from any process: control requests, messages, decisions, and the controller's lock."""
