"""How often one party may ask at all, whatever the answer: refusals cost records, so they are bounded too.

One bucket a party and process (GCRA), in memory: policy's own limits, which are charged for what is permitted, count
over all replicas (``limits``). Of the requests over the rate one a minute is for the record, with the number of those
that were not; the others are counted in telemetry.
"""

from collections import OrderedDict
from dataclasses import dataclass

from broker.clock import Clock
from broker.config import WebSettings
from broker.telemetry import Telemetry

RECORD_SECONDS = 60.0
PARTIES_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Over:
    """One attempt over the rate."""

    retry_after: float
    """Seconds until the next attempt passes."""
    for_record: bool
    unrecorded: int
    """How many were refused since the last that was for the record."""


@dataclass(slots=True)
class _Bucket:
    """``empty_at`` is GCRA's theoretical arrival time; times are monotonic seconds."""

    empty_at: float
    recorded_at: float = float("-inf")
    unrecorded: int = 0


class Attempts:
    """Counts what parties ask; who has not asked for longest is forgotten first."""

    def __init__(self, clock: Clock, telemetry: Telemetry, web: WebSettings, parties_max: int = PARTIES_MAX) -> None:
        """At most ``web.attempts_burst_max`` at once, and ``web.attempts_per_minute_max`` in the long run."""
        self._clock = clock
        self._telemetry = telemetry
        self._interval = 60.0 / web.attempts_per_minute_max
        self._capacity = self._interval * web.attempts_burst_max
        self._parties_max = parties_max
        self._buckets: OrderedDict[tuple[str, str], _Bucket] = OrderedDict()

    def take(self, tenant: str, party: str) -> Over | None:
        """Count one attempt of ``party``; None where it passes."""
        now = self._clock.monotonic()
        bucket = self._buckets.setdefault((tenant, party), _Bucket(now))
        self._buckets.move_to_end((tenant, party))
        if len(self._buckets) > self._parties_max:
            self._buckets.popitem(last=False)
        filled = max(bucket.empty_at, now) + self._interval
        # Half an interval of slack: sums of fractions must not cost an attempt.
        if filled - now <= self._capacity + self._interval / 2:
            bucket.empty_at = filled
            return None
        return self._refuse(bucket, now, filled - now - self._capacity)

    def _refuse(self, bucket: _Bucket, now: float, wait: float) -> Over:
        self._telemetry.attempt_refused()
        if now - bucket.recorded_at < RECORD_SECONDS:
            bucket.unrecorded += 1
            return Over(wait, for_record=False, unrecorded=bucket.unrecorded)
        unrecorded, bucket.unrecorded, bucket.recorded_at = bucket.unrecorded, 0, now
        return Over(wait, for_record=True, unrecorded=unrecorded)
