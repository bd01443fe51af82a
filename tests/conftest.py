"""Fixtures that every test may ask for."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

from broker.clock import SeededClock

T = TypeVar("T")


@pytest.fixture
def run() -> Callable[[Coroutine[Any, Any, T]], T]:
    """Run one coroutine on a fresh event loop."""
    return asyncio.run


@pytest.fixture
def clock() -> SeededClock:
    """A clock that moves only when the test moves it."""
    return SeededClock()
