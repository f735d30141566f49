"""The HTTP server of the Messages API: an ASGI application, its replies, streams and faults."""
