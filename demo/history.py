"""What the supervisor remembers of each service's metrics: every sample of the last 15 minutes.

A sample is kept whole and unchanged, as scraped. A question names metric, labels, window and step; a point is the newest
sample at or before the step's instant, unless that is older than five seconds: then there is no point.
"""

import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Mapping, Sequence

KEPT_SECONDS = 900
STALE_SECONDS = 5.0

Series = dict[tuple[tuple[str, str], ...], float]


class History:
    """The samples of all services."""

    def __init__(self) -> None:
        self._kept: dict[str, deque[tuple[float, Series]]] = {}
        self._turn = threading.Lock()

    def add(self, service: str, at: float, samples: Series) -> None:
        """Keep one scrape; keys are the sorted labels, ``__name__`` among them."""
        with self._turn:
            kept = self._kept.setdefault(service, deque())
            kept.append((at, samples))
            while kept and kept[0][0] < at - KEPT_SECONDS:
                kept.popleft()

    def read(  # noqa: PLR0913 - one keyword a field of the question
        self, service: str, metric: str, labels: Mapping[str, str], *, since_s: int, until_s: int, step_s: int
    ) -> list[dict[str, object]]:
        """Series with at least one point in the window, sorted by their labels."""
        with self._turn:
            kept = list(self._kept.get(service, ()))
        times = [at for at, _ in kept]
        found: dict[tuple[tuple[str, str], ...], list[list[object]]] = {}
        for instant in range(since_s, until_s + 1, step_s):
            newest = bisect_right(times, instant + 0.999) - 1
            if newest < 0 or instant - times[newest] > STALE_SECONDS:
                continue
            for key, value in kept[newest][1].items():
                if _fits(key, metric, labels):
                    found.setdefault(key, []).append([instant, _text(value)])
        return [{"labels": dict(key), "points": points} for key, points in sorted(found.items())]


def _fits(key: Sequence[tuple[str, str]], metric: str, labels: Mapping[str, str]) -> bool:
    own = dict(key)
    return own.get("__name__") == metric and labels.items() <= own.items()


def _text(value: float) -> str:
    """Exact decimal text."""
    return str(int(value)) if value == int(value) else repr(value)
