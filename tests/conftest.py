"""Fixtures that every test may ask for."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings

from broker.clock import SeededClock
from tests import parts

# No test cuts the power, and a disk that stalls must not look like a lock that is held.
parts.POSTGRES_OPTIONS += ["-c fsync=off", "-c full_page_writes=off"]
# The same examples everywhere, however long one takes.
settings.load_profile("ci")
T = TypeVar("T")
LONGEST = (
    "e2e/test_many_incidents.py",
    "e2e/test_time_boxes.py",
    "e2e/test_drill.py",
    "unit/policies/test_goldens.py",
    "e2e/test_demo.py",
    "matrix/test_access.py",
    "e2e/test_demo_approval.py",
    "matrix/test_console.py",
    "browser/test_full_pages.py",
    "e2e/console/test_policy_pages.py",
    "e2e/test_killed_worker.py",
    "e2e/console/test_simulate_page.py",
    "property/policies/test_engines_agree.py",
)
"""Files of a minute and more. Workers take whole files in order: what is long begins early, or one of two ends alone."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; everything else stays where it is."""
    tests = Path(__file__).parent
    place = {tests / name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path, len(place)))


@pytest.fixture
def run() -> Callable[[Coroutine[Any, Any, T]], T]:
    """Run one coroutine on a fresh event loop."""
    return asyncio.run


@pytest.fixture
def clock() -> SeededClock:
    """A clock that moves only when the test moves it."""
    return SeededClock()
