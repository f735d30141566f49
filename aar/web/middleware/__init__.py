"""What every request passes before its handler: checks and headers, the audit log, a cache of rendered pages."""
