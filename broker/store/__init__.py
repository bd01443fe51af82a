"""The gate's own state: tables, migrations, queries (see README.md)."""

from sqlalchemy import Connection

from broker.store.engine import Query, Store, Timeouts

__all__ = ["Connection", "Query", "Store", "Timeouts"]
