"""One database of each kind a module; each test has its own tenant in it."""

from collections.abc import Iterator

import pytest

from broker.store import Store
from tests.shop import Shop
from tests.stores import KINDS, open_store


@pytest.fixture(scope="module", params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    opened = open_store(request.param, tmp_path_factory.mktemp("incidents"))
    yield opened
    opened.close()


@pytest.fixture
def shop(store: Store) -> Shop:
    return Shop(store)
