"""Makes text from outside safe to store, show and send."""
