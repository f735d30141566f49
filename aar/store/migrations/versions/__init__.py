"""One file a schema version; written by hand, never changed once released."""
