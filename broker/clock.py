"""The only place that asks the time.

Everything else takes a ``Clock`` as a constructor argument, so that a test can step it and a replay can pin it.
"""

import random
import time
from typing import Protocol


class Clock(Protocol):
    """Wall time for records and expiry, monotonic time for durations."""

    def now_ns(self) -> int:
        """Nanoseconds since the Unix epoch, UTC. May step backwards when the host's clock is set."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back."""


class SystemClock:
    """The host's clock."""

    def now_ns(self) -> int:
        """Nanoseconds since the Unix epoch."""
        return time.time_ns()

    def monotonic(self) -> float:
        """Seconds from an arbitrary start."""
        return time.monotonic()


class SeededClock:
    """A clock that moves only when it is told to, or by a seeded small step at each reading.

    Tests and reproducible runs use it: equal seeds give equal histories.
    """

    def __init__(self, start_ns: int = 1_767_225_600_000_000_000, *, seed: int = 0, jitter_ns: int = 0) -> None:
        """Start at ``start_ns`` (default 2026-01-01T00:00:00Z); each reading advances by 0..``jitter_ns``."""
        self._now_ns = start_ns
        self._monotonic = 0.0
        self._jitter_ns = jitter_ns
        self._random = random.Random(seed)  # noqa: S311 - reproducible test time, not a secret

    def now_ns(self) -> int:
        """Nanoseconds since the Unix epoch."""
        if self._jitter_ns:
            self.advance(self._random.randrange(self._jitter_ns) / 1e9)
        return self._now_ns

    def monotonic(self) -> float:
        """Seconds since this clock was made."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass on both scales."""
        self._now_ns += round(seconds * 1e9)
        self._monotonic += seconds

    def step_wall(self, seconds: float) -> None:
        """Set the wall clock forwards or back, as an operator or NTP would; monotonic time is untouched."""
        self._now_ns += round(seconds * 1e9)


def seconds(clock: Clock) -> int:
    """Whole seconds since the Unix epoch, the unit of tokens and expiries."""
    return clock.now_ns() // 1_000_000_000
