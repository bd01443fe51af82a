"""Rate limits: policy names the bucket and its size, the gate composes the key and counts.

A limit of ``max`` units in ``window_s`` seconds with ``burst`` allows at most ``burst + max`` units in any window of
that length, over all replicas. All limits of one action pass together or none is charged. Keys are composed here, from
typed fields of the verified principal and the canonical request, never from text of the policy. A store that is away
raises ``StoreUnavailable``: nothing passes uncounted.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from broker.errors import LimitExceeded, ObligationFailed, Reason
from broker.model import ActionRequest, Limit, Principal
from broker.store import Connection, Query, Store, counters
from broker.store.counters import Charge, Shortage
from broker.store.rows import EVERY_TENANT

NS = 1_000_000_000
LONGEST_NS = 10 * 366 * 86_400 * NS
"""No bucket may take longer than ten years to empty: its times must fit 64 bits."""


@dataclass(slots=True)
class Taken:
    """What one ``take`` charged; give it to ``refund``, once, if the action did not happen."""

    charges: tuple[Charge, ...]
    at_ns: int
    refunded: bool = False


@dataclass(frozen=True, slots=True)
class Room:
    """What is left of one bucket: so many units pass at once, and in so many seconds it is as it was."""

    left: int
    burst: int
    full_in_s: int


class Limits:
    """Counts against limits, for all replicas that share ``store``."""

    def __init__(self, store: Store) -> None:
        """Count in the counter tables of ``store``."""
        self._store = store

    async def take(
        self,
        tenant: str,
        limits: Sequence[tuple[Limit, str]],
        cost: int = 1,
        *,
        now_ns: int,
        also: Sequence[Query[None]] = (),
    ) -> Taken:
        """Charge ``limit.cost * cost`` units to each (limit, key of ``key_of``), all or none.

        ``also`` is counted in the same transaction; one of them that raises leaves nothing charged.

        Raises ``LimitExceeded`` with ``retry_after`` in seconds and the limit's name among the reasons;
        ``ObligationFailed`` for a limit that could never let this pass; ``StoreUnavailable``.
        """
        charges = tuple(_charge(tenant, limit, key, cost) for limit, key in limits)
        if not charges and not also:
            return Taken((), now_ns)

        def count(connection: Connection) -> Shortage | None:
            short = counters.take(connection, charges, now_ns) if charges else None
            for query in also if short is None else ():
                query(connection)
            return short

        short = await self._store.count(count)
        if short is not None:
            name = limits[short.index][0].name
            raise LimitExceeded(
                f"the limit {name} is spent",
                reasons=(Reason("limit.exceeded", "wait, then send the request again", {"limit": name}),),
                retry_after=-(-short.wait_ns // 1_000_000) / 1_000,
            )
        return Taken(charges, now_ns)

    async def refund(self, taken: Taken, now_ns: int) -> None:
        """Give back what of ``taken`` has not flowed out by itself since; a second refund gives nothing.

        The time that passed counts as used in full, so that a refund never allows more than if nothing had been taken.
        """
        elapsed = now_ns - taken.at_ns
        if taken.refunded or elapsed < 0:
            return
        taken.refunded = True
        rest = tuple(
            Charge(charge.tenant, charge.key, charge.add_ns - elapsed, charge.capacity_ns)
            for charge in taken.charges
            if charge.add_ns > elapsed
        )
        if rest:
            await self._store.count(lambda c: counters.give_back(c, rest))

    async def rooms(self, tenant: str, limits: Sequence[tuple[Limit, str]], now_ns: int) -> list[Room]:
        """What is left of each (limit, key of ``bucket_key``); a look that takes nothing."""
        charges = [_charge(tenant, limit, key, 1) for limit, key in limits]
        found = await self._store.count(lambda c: counters.levels(c, [(one.tenant, one.key) for one in charges]))
        rooms = []
        for (limit, _), charge in zip(limits, charges, strict=True):
            level = max(0, found.get((charge.tenant, charge.key), 0) - now_ns)
            interval = charge.capacity_ns // limit.burst
            left = max(0, charge.capacity_ns - level) // interval
            rooms.append(Room(left, limit.burst, -(-level // NS)))
        return rooms

    async def record_use(self, tenant: str, party: str, now_s: int, *, write: bool) -> None:
        """Count one action of ``party`` today (UTC), for policy's advisory ``context.usage``; enforces nothing."""
        await self._store.count(self.use(tenant, party, now_s, write=write))

    def use(self, tenant: str, party: str, now_s: int, *, write: bool) -> Query[None]:
        """``record_use`` as a part of somebody's transaction in the counter lane."""
        return lambda connection: counters.bump(connection, tenant, party, now_s, write=write)


def key_of(limit: Limit, principal: Principal, request: ActionRequest) -> str:
    """Compose the counter's key from the typed fields that ``limit.scope`` names.

    A resource's id is the caller's spelling, so case and Unicode form are folded: another spelling is the same bucket.
    An unknown scope raises ``ObligationFailed`` (``limit.scope``).
    """
    resource = request.resource
    parts: dict[str, tuple[str, ...]] = {
        "actor": (principal.acting.id,),
        "subject": (principal.subject.id,),
        "session": (request.session,),
        "tenant": (),
        "action": (request.action,),
        "resource": (resource.type, _folded(resource.id), resource.env),
        "global": (),
    }
    if limit.scope not in parts:
        raise _impossible(limit, "limit.scope", "its scope is not one that the gate can count")
    return bucket_key(limit.scope, limit.name, *parts[limit.scope])


def bucket_key(scope: str, name: str, *parts: str) -> str:
    """The counter's key of a bucket; ``parts`` are the party, the session or the folded names that its scope counts by."""
    return orjson.dumps([scope, name, *parts]).decode()


def _folded(text: str) -> str:
    """Fold case and Unicode form; folding twice reaches a fixed point."""
    once = unicodedata.normalize("NFKC", text).casefold()
    return unicodedata.normalize("NFKC", once).casefold()


def _charge(tenant: str, limit: Limit, key: str, cost: int) -> Charge:
    """Turn a limit into nanoseconds; rounds the interval up, so that rounding never lets one more pass."""
    units = limit.cost * cost
    if limit.max < 1 or limit.window_s < 1 or limit.burst < 1 or limit.cost < 0 or cost < 0:
        raise _impossible(limit, "limit.size", "it allows nothing")
    if units > limit.burst:
        raise _impossible(limit, "limit.cost", f"one request costs {units} and at most {limit.burst} pass at once")
    interval = -(-limit.window_s * NS // limit.max)
    if interval * limit.burst > LONGEST_NS:
        raise _impossible(limit, "limit.size", "its window is longer than ten years")
    place = EVERY_TENANT if limit.scope == "global" else tenant
    return Charge(place, key, interval * units, interval * limit.burst)


def _impossible(limit: Limit, code: str, why: str) -> ObligationFailed:
    """Build the refusal for a limit that can never be met."""
    remedy = "ask the owner of the policy to mend this limit"
    return ObligationFailed(
        f"the limit {limit.name} cannot be met: {why}",
        code=code,
        remedy=remedy,
        reasons=(Reason(code, remedy, {"limit": limit.name}),),
    )
