"""Bring a database to the newest form, once, whoever starts first.

The replicas that start together take one lock: an advisory lock on PostgreSQL, the write lock of the file on SQLite.
All migrations run in one transaction, so a crash leaves the old form whole.
"""

import threading
from collections.abc import Collection
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection

from broker.errors import StoreUnavailable

FOLDER = Path(__file__).with_name("migrations")
ADVISORY_LOCK = 0x77_69_63_6B_65_74
"""Key of PostgreSQL's advisory lock: the bytes of ``wicket``."""

# Alembic's `op` and `context` are global names of the process.
_ONE_IN_THIS_PROCESS = threading.Lock()


def upgrade(connection: Connection, parts: Collection[str]) -> None:
    """Run what is missing in the transaction of ``connection``; ``parts`` of ``state``, ``counters`` live here.

    Raises ``StoreUnavailable`` (``store.newer``) where the database was written by a newer release.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")
    config = _config()
    config.attributes["connection"] = connection
    config.attributes["parts"] = tuple(parts)
    try:
        with _ONE_IN_THIS_PROCESS:
            command.upgrade(config, "head")
    except CommandError as error:
        raise StoreUnavailable(
            "the database was made by a newer release",
            code="store.newer",
            remedy="start the release that made it, or a newer one",
        ) from error


def is_current(connection: Connection) -> bool:
    """Say whether the database has the newest form."""
    return MigrationContext.configure(connection).get_current_revision() == _newest()


@cache
def _newest() -> str | None:
    """Name of the last migration of this release; to learn it, every one is read."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def _config() -> Config:
    """Alembic's configuration without a file."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    return config
