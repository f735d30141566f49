"""Tables, sessions and migrations of the database.

Services take a ``Session``; programs start with :func:`open_database`.
"""

from aar.store.database import Database
from aar.store.schema import open_database

__all__ = ["Database", "open_database"]
