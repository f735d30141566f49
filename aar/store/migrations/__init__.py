"""Alembic migrations, run by ``aar.store.open_database``."""
