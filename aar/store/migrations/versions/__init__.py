"""One file a schema version; each is written by hand and never changed once released."""
