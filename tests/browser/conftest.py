"""One browser and one gate a file."""

from collections.abc import Iterator

import pytest

from tests.browser.chrome import Chrome, chromium
from tests.browser.lived_in import LivedIn, lived_in
from tests.browser.scenes import EXTRA, a_day
from tests.parts import require
from tests.sim.running_gate import RunningGate, running_gate, supervised


@pytest.fixture(scope="module")
def chrome() -> Iterator[Chrome]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGate]:
    """A served gate with real processes behind it."""
    with (
        supervised("checkout", "payments") as (_, toml),
        running_gate(tmp_path_factory.mktemp("gate"), toml) as started,
    ):
        yield started


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LivedIn]:
    """A world with a day's work in it, whose clock is the test's."""
    require("chromium")
    with lived_in(tmp_path_factory.mktemp("world"), a_day, EXTRA) as made:
        yield made


@pytest.fixture(scope="module")
def there(lived: LivedIn) -> Iterator[Chrome]:
    """A browser that finds that world."""
    with chromium(*lived.arguments) as started:
        yield started
