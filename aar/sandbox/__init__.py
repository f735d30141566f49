"""Sandboxes: where everything that a researcher writes runs. Docker or bubblewrap, one protocol, one channel."""
