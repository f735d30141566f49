"""Worker processes for calls within limits of time and memory."""
