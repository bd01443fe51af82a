"""What can go wrong inside a running service. A fault lives in its memory only: a fresh process is healthy.

Each is switched on by ``POST /fault`` and then damages real state that the requests depend on:

- ``pool-leak`` (checkout): every second request forgets to give its database connection back, until none is left.
- ``lock-hang`` (inventory): a thread takes the stock lock and never lets go; whoever needs it gives up.
- ``bad-cache`` (payments): the cached exchange rates lose two currencies; those payments fail.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

FAULTS: Mapping[str, str] = {"pool-leak": "checkout", "lock-hang": "inventory", "bad-cache": "payments"}
"""Fault -> the service that it strikes."""

RATES: Mapping[str, int] = {"EUR": 1_000_000, "GBP": 1_170_000, "SEK": 88_000, "USD": 920_000}
"""Millionths of a euro for one unit."""

PATIENCE_SECONDS = 0.1


class OwnError(Exception):
    """A request that this service itself failed; ``status`` is the answer's."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class State:
    """The state that every request of one service goes through."""

    def __init__(self, pool_size: int) -> None:
        self.pool_size = pool_size
        self._pool = threading.Semaphore(pool_size)
        self._stock = threading.Lock()
        self._rates = dict(RATES)
        self._leaks = False
        self._served = 0

    def strike(self, fault: str) -> None:
        """Switch ``fault`` on; raises ``KeyError`` for one that does not exist."""
        {"pool-leak": self._leak, "lock-hang": self._hang, "bad-cache": self._spoil}[fault]()

    @contextmanager
    def connection(self) -> Iterator[None]:
        """Hold a pooled connection; raises ``OwnError`` 503 where none comes free in time."""
        if not self._pool.acquire(timeout=PATIENCE_SECONDS):
            raise OwnError(503, f"connection pool exhausted: {self.pool_size} of {self.pool_size} in use")
        self._served += 1
        try:
            yield
        finally:
            if not (self._leaks and self._served % 2):
                self._pool.release()

    @contextmanager
    def stock(self) -> Iterator[None]:
        """Hold the stock lock; raises ``OwnError`` 504 where it does not come free in time."""
        if not self._stock.acquire(timeout=PATIENCE_SECONDS):
            raise OwnError(504, f"stock lock not acquired within {PATIENCE_SECONDS * 1000:.0f} ms")
        try:
            yield
        finally:
            self._stock.release()

    def rate(self, currency: str) -> int:
        """Millionths of a euro; raises ``OwnError`` 500 for a currency that the cache lost."""
        if currency not in self._rates:
            raise OwnError(500, f"no exchange rate for {currency} in the cache")
        return self._rates[currency]

    def _leak(self) -> None:
        self._leaks = True

    def _hang(self) -> None:
        self._stock.acquire()

    def _spoil(self) -> None:
        self._rates = {"EUR": RATES["EUR"], "SEK": RATES["SEK"]}
