"""The state that the requests of one service go through, and how it can go bad while the service runs.

A fault that lives here lives in memory only: a fresh process is healthy.

- ``pool-leak``: every second request forgets to give its database connection back, until none is left.
- ``lock-hang``: a thread takes the stock lock and never lets go; whoever needs it gives up.
- ``bad-cache``: the exchange rates in memory lose two currencies; those payments fail.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

RATES: Mapping[str, int] = {"EUR": 1_000_000, "GBP": 1_170_000, "SEK": 88_000, "USD": 920_000}
"""Millionths of a euro for one unit."""

PATIENCE_SECONDS = 0.5


class OwnError(Exception):
    """A request that this service itself failed; ``status`` is the answer's."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class State:
    """The state that every request of one service goes through."""

    def __init__(self, pool_size: int, rates: Mapping[str, int] = RATES) -> None:
        """``rates`` are kept as they are given; a pool of 0 gives nobody a connection."""
        self.pool_size = pool_size
        self._pool = threading.Semaphore(pool_size)
        self._stock = threading.Lock()
        self._rates = dict(rates)
        self._leaks = False
        self._served = 0

    def strike(self, fault: str) -> None:
        """Switch ``fault`` on; raises ``KeyError`` for one that does not live in memory."""
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
        for lost in ("GBP", "USD"):
            self._rates.pop(lost, None)
