"""Middleware: request checks and headers, the audit log, a cache of rendered pages."""
