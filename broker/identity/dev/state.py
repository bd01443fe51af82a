"""What the development provider remembers: in memory, each thing bounded in number and time."""

import hmac
from typing import Generic, TypeVar

from broker.clock import Clock, seconds

ATTEMPTS_MAX = 5
LOCK_SECONDS = 30

T = TypeVar("T")


class Full(Exception):
    """No room for another entry until one expires."""


class Shelf(Generic[T]):
    """Values by key until a second of wall time; never more than ``entries_max``."""

    def __init__(self, clock: Clock, entries_max: int = 1_000) -> None:
        self._clock = clock
        self._entries_max = entries_max
        self._entries: dict[str, tuple[int, T]] = {}

    def put(self, key: str, value: T, seconds_kept: int) -> None:
        """Keep ``value``; raises Full rather than forget something that is still good."""
        now = seconds(self._clock)
        if len(self._entries) >= self._entries_max:
            self._entries = {k: v for k, v in self._entries.items() if v[0] > now}
            if len(self._entries) >= self._entries_max:
                raise Full
        self._entries[key] = (now + seconds_kept, value)

    def get(self, key: str) -> T | None:
        """The value, unless its time is over."""
        until, value = self._entries.get(key, (0, None))
        return value if until > seconds(self._clock) else None

    def take(self, key: str) -> T | None:
        """The value, for the last time."""
        value = self.get(key)
        self._entries.pop(key, None)
        return value

    def values(self) -> list[T]:
        """Everything still good."""
        now = seconds(self._clock)
        return [value for until, value in self._entries.values() if until > now]


class DevCode:
    """The code that ``serve --dev`` prints for the person at the keyboard; an agent beside them cannot guess it.

    After five wrong codes nothing is accepted for half a minute, the right code included.
    """

    def __init__(self, code: str, clock: Clock) -> None:
        """Raises ValueError for a code that could be guessed."""
        if len(code) < 8:
            raise ValueError("the development code must have at least 8 characters")
        self._code = code.encode()
        self._clock = clock
        self._wrong = 0
        self._locked_until = 0.0

    def matches(self, given: str) -> bool:
        """Whether ``given`` is the code, and we are listening."""
        now = self._clock.monotonic()
        if now < self._locked_until:
            return False
        if hmac.compare_digest(given.encode(), self._code):
            self._wrong = 0
            return True
        self._wrong += 1
        if self._wrong >= ATTEMPTS_MAX:
            self._wrong, self._locked_until = 0, now + LOCK_SECONDS
        return False
