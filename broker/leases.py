"""Leases: exclusive hold of keys for a while, with fence numbers.

A key's fence grows with every new hold and never goes back, so a target that remembers the highest fence it saw can
refuse a holder whose time ran out. All keys of one action are taken together or none. Expiry is compared at use.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from broker import clock as clocks
from broker.clock import Clock
from broker.errors import Conflict, ObligationFailed
from broker.store import Store
from broker.store import leases as rows


@dataclass(frozen=True, slots=True)
class Held:
    """Keys held by ``holder`` until ``until``, each with its fence."""

    tenant: str
    holder: str
    fences: Mapping[str, int]
    until: int
    again: bool = False
    """``holder`` had one of them before: another run of the same action may be at work under them."""


class Leases:
    """Takes, checks and frees keys, for all replicas that share ``store``."""

    def __init__(self, store: Store, clock: Clock) -> None:
        """Keep leases in ``store``; expiry is compared with ``clock``."""
        self._store = store
        self._clock = clock

    async def acquire(self, tenant: str, keys: Sequence[str], holder: str, seconds: int) -> Held:
        """Take every key for ``seconds``, or none.

        ``holder`` names one run of one action. Raises ``Conflict`` (``lease.held``) with ``retry_after`` while somebody
        else has one of them; ``ObligationFailed`` (``lease.invalid``) for no keys, an empty key or no time.
        """
        wanted = sorted(set(keys))
        if not wanted or not all(wanted) or seconds < 1 or not holder:
            raise ObligationFailed("the lease names no key, no holder or no time", code="lease.invalid")
        now = clocks.seconds(self._clock)
        taken = await self._store.hold(
            lambda c: rows.take(c, tenant, wanted, holder=holder, now_s=now, until=now + seconds)
        )
        if isinstance(taken, int):
            raise Conflict(
                "another action holds what this one needs",
                code="lease.held",
                remedy="wait for the seconds in Retry-After, then send the request again",
                retry_after=float(max(1, taken - now)),
            )
        fences, again = taken
        return Held(tenant, holder, fences, now + seconds, again)

    async def check(self, held: Held) -> None:
        """Return if every key is still held; else raises ``Conflict`` (``lease.lost``): the holder must not act."""
        now = clocks.seconds(self._clock)
        if not await self._store.read(lambda c: rows.holds(c, held.tenant, held.holder, held.fences, now)):
            raise _lost()

    async def renew(self, held: Held, seconds: int) -> Held:
        """Hold every key for ``seconds`` from now; raises ``Conflict`` (``lease.lost``) if one is lost."""
        now = clocks.seconds(self._clock)
        kept = await self._store.hold(
            lambda c: rows.renew(c, held.tenant, held.holder, held.fences, now_s=now, until=now + seconds)
        )
        if not kept:
            raise _lost()
        return replace(held, until=now + seconds)

    async def give_back(self, held: Held) -> None:
        """Free what was taken for nothing; what another run of the same action may be using stays until its time is over."""
        if not held.again:
            await self.release(held.tenant, held.holder, held.fences)

    async def release(self, tenant: str, holder: str, keys: Iterable[str] = ()) -> None:
        """Free what ``holder`` still has, of ``keys`` where they are known; a key that was lost stays with its new holder."""
        await self._store.hold(lambda c: rows.release(c, tenant, holder, keys), gives_back=True)


def _lost() -> Conflict:
    """Build the answer to a holder whose time ran out."""
    return Conflict("the lease ran out and is lost", code="lease.lost", remedy="stop; start the action afresh")
