"""The agent loop that runs beside the controller: one conversation, one sandbox, one direction."""
