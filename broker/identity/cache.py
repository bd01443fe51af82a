"""Verified tokens, remembered for at most a minute, and what was revoked.

The cache is keyed by SHA-256 of the token, never the token. An entry dies with the first of: the token's ``exp``, one
minute, a change of its issuer's keys, any revocation (which empties the cache: the slow path then looks each token up
in ``Revocations``). So a revocation takes effect on the next request of this process; between replicas whoever
carries it over (a poll of the store) sets the delay.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from broker.clock import Clock
from broker.identity.certificates import ISSUER
from broker.model import Principal

ENTRIES_MAX = 10_000
CACHE_SECONDS_MAX = 60
REVOCATIONS_MAX = 100_000

RevocationKind = Literal["party", "client", "token"]


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

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()


class Revocations:
    """What must not be believed although its signature holds. Values carry the profile: ``<profile>:<sub|client|jti>``.

    A revoked party or client loses every token issued up to now (plus the clock leeway); a sign-in after that works
    again. A full table forgets what is older than any token; senders by certificate (``mtls:…``) stay, because nothing
    bounds how long a certificate lives. When that makes no room, everything issued up to now is revoked instead:
    forgetting would let someone back in.
    """

    def __init__(self, seconds_kept: int = 86_400 + 120, entries_max: int = REVOCATIONS_MAX) -> None:
        self._revoked: dict[tuple[str, str], int] = {}
        self._seconds_kept = seconds_kept
        self._entries_max = entries_max
        self._all_until = -1
        self._on_change: list[Callable[[], None]] = []

    def subscribe(self, notify: Callable[[], None]) -> None:
        """Call ``notify`` at every revocation: caches empty themselves."""
        self._on_change.append(notify)

    def revoke(self, kind: RevocationKind, value: str, now_s: int) -> None:
        """Revoke as of ``now_s``; repeating it moves the moment forward."""
        if len(self._revoked) >= self._entries_max:
            first = now_s - self._seconds_kept
            kept = {key: at for key, at in self._revoked.items() if at > first or key[1].startswith(f"{ISSUER}:")}
            if len(kept) >= self._entries_max:
                self._all_until, kept = now_s, {}
            self._revoked = kept
        self._revoked[kind, value] = max(now_s, self._revoked.get((kind, value), now_s))
        for notify in self._on_change:
            notify()

    def covers(self, kind: RevocationKind, value: str, issued_at: int, leeway_s: int) -> bool:
        """Whether a token issued at ``issued_at`` is revoked through ``value``."""
        if issued_at <= self._all_until + leeway_s:
            return True
        at = self._revoked.get((kind, value))
        return at is not None and issued_at <= at + leeway_s
