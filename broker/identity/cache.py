"""Verified tokens, remembered for at most a minute.

The cache is keyed by SHA-256 of the token, never the token. An entry dies with the first of: the token's ``exp``, one
minute, a change of its issuer's keys. Who must stop before that is stopped by the kill switch, on every replica.
"""

from dataclasses import dataclass

from broker.clock import Clock
from broker.model import Principal

ENTRIES_MAX = 10_000
CACHE_SECONDS_MAX = 60


@dataclass(frozen=True, slots=True)
class Verified:
    """A principal and what keeps it valid. ``until`` is monotonic, ``expires_ns`` wall time, as ``exp`` is."""

    principal: Principal
    profile: str
    generation: int
    until: float
    expires_ns: int
    thumbprint: str = ""
    """Key that the sender must prove to hold at every request (DPoP), or empty."""


class TokenCache:
    """Bounded: the oldest entry makes room."""

    def __init__(self, entries_max: int = ENTRIES_MAX) -> None:
        self._entries: dict[bytes, Verified] = {}
        self._entries_max = entries_max

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, digest: bytes, clock: Clock) -> Verified | None:
        """The entry, unless its time is over; the caller compares the key-set generation."""
        entry = self._entries.get(digest)
        if entry is None or (clock.monotonic() < entry.until and clock.now_ns() < entry.expires_ns):
            return entry
        del self._entries[digest]
        return None

    def put(self, digest: bytes, entry: Verified) -> None:
        """Remember; the oldest entry goes if there is no room."""
        while len(self._entries) >= self._entries_max:
            del self._entries[next(iter(self._entries))]
        self._entries[digest] = entry

    def drop(self, digest: bytes) -> None:
        """Forget one token."""
        self._entries.pop(digest, None)
