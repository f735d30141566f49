"""Alembic's environment: runs migrations on its caller's connection and transaction."""

from __future__ import annotations

from alembic import context

from aar.store.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
