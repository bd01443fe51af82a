"""Every store that the log runs on, empty; and sessions that are closed when the test ends."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from audit.postgres import PostgresStore
from audit.sqlite import MemoryStore, SqliteStore
from audit.store import Session, Store
from tests.parts import fresh_database


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "sqlite":
        yield SqliteStore(tmp_path / "audit.db")
    elif request.param == "postgres":
        yield PostgresStore(fresh_database())
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
