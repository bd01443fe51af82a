"""The gate's own state: tables, migrations, queries (see README.md)."""

from sqlalchemy import Connection

import broker.store.logtables  # noqa: F401 - its tables belong to the metadata, too
import broker.store.strongtables  # noqa: F401
from broker.store.engine import Query, Store, Timeouts

__all__ = ["Connection", "Query", "Store", "Timeouts"]
