"""The gate's own acts about break-glass: decided and on record before they come here; each step is a record of its own."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from broker.breakglass import BreakGlass, Breakglass
from broker.catalog import Catalog
from broker.clock import Clock, seconds
from broker.errors import BadRequest, Conflict, NotFound, StoreUnavailable
from broker.leaves import word
from broker.model import Json, Principal
from broker.records import Records

Act = Callable[[Principal, Mapping[str, Any]], Awaitable[Json]]
_NS = 10**9


class BreakglassActs:
    """Acts by name; ``acts.Acts`` runs them beside its own."""

    def __init__(self, *, desk: BreakGlass, records: Records, catalog: Callable[[], Catalog], clock: Clock) -> None:
        """``catalog()`` is that of the active bundle."""
        self._desk = desk
        self._records = records
        self._catalog = catalog
        self._clock = clock
        self.acts: Mapping[str, Act] = {
            "gate.breakglass.read": self._read,
            "gate.breakglass.open": self._open,
            "gate.breakglass.confirm": self._confirm,
            "gate.breakglass.end": self._end,
            "gate.breakglass.review": self._review,
        }

    async def _read(self, principal: Principal, _said: Mapping[str, Any]) -> Json:
        now = seconds(self._clock)
        found = [shown(one, now) for one in await self._desk.listed(principal.tenant)]
        return {"breakglass": found, "minutes_max": self._desk.minutes_max}

    async def _open(self, principal: Principal, said: Mapping[str, Any]) -> Json:
        """On record before anybody can confirm it; waits for a second person and opens nothing."""
        unknown = [name for name in said["actions"] if self._catalog().find(name) is None]
        if unknown:
            raise BadRequest(
                "field `actions` names an action that does not exist",
                code="breakglass.unknown_action",
                remedy="ask GET /v1/actions for the actions there are",
            )
        new = self._desk.drafted(
            principal,
            actions=said["actions"],
            targets=said["targets"],
            people=said["people"],
            minutes=said["minutes"],
            reason=said["reason"],
        )
        await self._desk.check_new(new)
        await self._step(principal, "asked", new, said, self._desk.add)
        return shown(new, seconds(self._clock))

    async def _confirm(self, principal: Principal, said: Mapping[str, Any]) -> Json:
        """On record before it is open: it never is open off the record."""
        stands = await self._desk.get(principal.tenant, said["breakglass"])
        opened = self._desk.confirmed(principal, stands)
        await self._step(principal, "opened", opened, said, self._desk.open)
        return shown(opened, seconds(self._clock))

    async def _end(self, principal: Principal, said: Mapping[str, Any]) -> Json:
        """It ends first, and is on record then: the log never says that it is over while somebody still acts under it.

        Who ended it and got no answer asks again: it is put on record then, if it is not.
        """
        over = await self._desk.get(principal.tenant, said["breakglass"])
        if over.ended_by != principal.subject.id or await self._records.has(over.tenant, f"{over.id}.end"):
            over = await self._desk.end(principal, over)
        verb = "withdrawn" if over.state == "dropped" else "ended"
        await self._record(principal, verb, over, said["reason"], f"{over.id}.end")
        return shown(over, seconds(self._clock))

    async def _review(self, principal: Principal, said: Mapping[str, Any]) -> Json:
        stands = await self._desk.get(principal.tenant, said["breakglass"])
        done = self._desk.reviewed(principal, stands, said["text"])
        await self._step(principal, "reviewed", done, said, self._desk.close)
        return shown(done, seconds(self._clock))

    async def _step(
        self,
        principal: Principal,
        verb: str,
        one: Breakglass,
        said: Mapping[str, Any],
        store: Callable[[Breakglass], Awaitable[None]],
    ) -> None:
        """On record, then stored; where it was not, the same stream says that it did not happen."""
        event = f"{one.id}.{verb}.{said['action_id'].removeprefix('act_')}"
        await self._record(principal, verb, one, one.review if verb == "reviewed" else said["reason"], event)
        try:
            await store(one)
        except (Conflict, StoreUnavailable) as error:
            if isinstance(error, StoreUnavailable) and await self._stored(one):
                return
            await self._record(principal, "void", one, verb, f"{event}.void")
            raise

    async def _stored(self, one: Breakglass) -> bool:
        """Whether a step was stored although the database failed; raises ``StoreUnavailable`` where that cannot be read."""
        try:
            kept = await self._desk.get(one.tenant, one.id)
        except NotFound:
            return False
        names = ("opened_by", "confirmed_by", "until", "reviewed_by", "reviewed_at")
        return all(getattr(kept, name) == getattr(one, name) for name in names)

    async def _record(self, principal: Principal, verb: str, one: Breakglass, text: str, event: str) -> None:
        told: dict[str, Json] = {
            "id": one.id,
            "verb": verb,
            "actions": [word(name) for name in one.actions],
            "targets": len(one.targets),
            "people": [self._records.ref(one.tenant, "per", party) for party in one.people],
        }
        if one.until:
            told |= {"until_ns": str(one.until * _NS), "review_due_ns": str(one.review_due * _NS)}
        whole = shown(one, seconds(self._clock))
        await self._records.of_person(principal, "breakglass", told, event=event, reason=text, breakglass=whole)


def shown(one: Breakglass, now_s: int) -> dict[str, Json]:
    """As the API answers it; times in seconds, 0 for one that has not come."""
    return {
        "id": one.id,
        "state": one.state,
        "reason": one.reason,
        "actions": list(one.actions),
        "targets": [dict(target) for target in one.targets],
        "people": list(one.people),
        "seconds": one.seconds,
        "opened_by": one.opened_by,
        "opened_at": one.opened_at,
        "confirm_until": one.confirm_until,
        "confirmed_by": one.confirmed_by,
        "until": one.until,
        "ended_by": one.ended_by,
        "ended_at": one.ended_at,
        "review_due": one.review_due,
        "overdue": one.overdue(now_s),
        "reviewed_by": one.reviewed_by,
        "reviewed_at": one.reviewed_at,
        "review": one.review,
    }
