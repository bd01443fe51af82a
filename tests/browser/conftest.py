"""One browser and one gate a file."""

from collections.abc import Iterator

import pytest

from tests.browser.chrome import Chrome, chromium
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
