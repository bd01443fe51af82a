"""Every store that the log runs on, empty; and sessions that are closed when the test ends."""

import functools
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from audit.postgres import PostgresStore
from audit.sqlite import MemoryStore, SqliteStore
from audit.store import Session, Store
from tests.parts import fresh_database


@functools.cache
def _database() -> str:
    return fresh_database()


def _fresh_schema() -> str:
    """URL of an empty schema: much faster to make than a database."""
    name = f"s{uuid.uuid4().hex}"
    with psycopg.connect(_database(), autocommit=True) as raw:
        raw.execute(f"CREATE SCHEMA {name}")
    return f"{_database()}?options=-csearch_path%3D{name}"


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "sqlite":
        yield SqliteStore(tmp_path / "audit.db")
    elif request.param == "postgres":
        yield PostgresStore(_fresh_schema())
    else:
        made = MemoryStore()
        yield made
        made.close()


@pytest.fixture
def memory() -> Iterator[MemoryStore]:
    made = MemoryStore()
    yield made
    made.close()


@pytest.fixture
def connect() -> Iterator[Callable[[Store], Session]]:
    opened: list[Session] = []

    def connected(store: Store) -> Session:
        opened.append(store.connect())
        return opened[-1]

    yield connected
    for session in opened:
        session.close()
