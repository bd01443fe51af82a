"""Fixtures of the rooms' own tests."""

from collections.abc import Iterator

import pytest

from broker.store import Store
from tests.shop import Shop
from tests.stores import KINDS, open_store


@pytest.fixture(scope="module", params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A database of each kind for a module; its tests keep apart by tenant."""
    opened = open_store(request.param, tmp_path_factory.mktemp("store"))
    yield opened
    opened.close()


@pytest.fixture
def shop(store: Store) -> Shop:
    """Incidents of one tenant of its own in that database."""
    return Shop(store)
