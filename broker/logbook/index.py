"""The index of the log: a projection into the gate's own database, fed by sequence number, that can be made anew.

It holds no evidence: it says which records to look at, and a record's own page reads the leaf and checks it. It may lag
behind the log; a search first takes up what is missing, up to a bound, and says how far the index had come.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from broker.clock import Clock, seconds
from broker.logbook.lines import Line, Lines, shown
from broker.logbook.names import Names
from broker.model import Json
from broker.records import Records
from broker.store import Store, logusage
from broker.store import logindex as rows
from broker.store.logindex import Sought
from broker.telemetry import Telemetry

PAGE = 500
AT_A_SEARCH_MAX = 1_000
"""Records that a search itself takes up."""
WINDOW_SECONDS = 7 * 86_400
_COLUMNS = tuple(field.name for field in fields(Line))


class LogIndex:
    """Feeds and searches the index, on any number of replicas."""

    def __init__(  # noqa: PLR0913 - the composition root names each part once
        self, *, store: Store, records: Records, lines: Lines, names: Names, clock: Clock, telemetry: Telemetry
    ) -> None:
        self._store = store
        self._records = records
        self._lines = lines
        self._names = names
        self._clock = clock
        self._telemetry = telemetry
        self._taking_up: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        """One at a time for each tenant: who comes second finds the work done, and waits for no lock of the database."""

    async def run(self) -> None:
        """Bring every tenant's index up to its log, and say how far behind it was."""
        behind = 0
        for tenant in await self._records.tenants():
            behind += await self.catch_up(tenant)
        self._telemetry.gauge("log_index_lag", behind)

    async def catch_up(self, tenant: str, most: int = 2**53) -> int:
        """Take up what the index lacks, at most ``most`` records; how many there were."""
        async with self._taking_up[tenant]:
            taken = 0
            while taken < most:
                wanted = min(PAGE, most - taken)
                more = await self._take_up(tenant, wanted)
                taken += more
                if more < wanted:
                    break
            return taken

    async def _take_up(self, tenant: str, most: int) -> int:
        end = await self._store.glance(lambda c: rows.tail(c, tenant))
        entries = await self._records.entries(tenant, after=end.next - 1, limit=most)
        lines = await self._lines.of(tenant, entries)
        made = [_row(line) for line in lines]
        if made:
            # Where another replica was first, its rows are these. A crash may undo the write: the log still has all.
            await self._store.write(lambda c: rows.add(c, tenant, made), durable=False)
            await self._name(tenant, lines)
        return len(entries)

    async def _name(self, tenant: str, lines: Sequence[Line]) -> None:
        """Keep who is behind a pseudonym, once for each: a record's payload says it, and the pseudonym proves it."""
        first = {line.who: line.event for line in reversed(lines) if line.party}
        if not first:
            return
        unnamed = await self._store.glance(lambda c: logusage.unnamed(c, tenant, first))
        names: dict[str, str] = {}
        for ref in unnamed:
            told = await self._records.told(tenant, first[ref])
            said = told[1].get("who", []) if told and told[1] else []
            names.update((ref, one) for one in said if self._records.ref(tenant, "per", one) == ref)
        if names:
            await self._store.write(lambda c: logusage.name(c, tenant, names), durable=False)

    async def progress(self, tenant: str) -> dict[str, Json]:
        """How many of the log's records the index has taken up, and how many there are."""
        end = await self._store.glance(lambda c: rows.tail(c, tenant))
        return {"indexed": end.next, "records": await self._records.size(tenant)}

    async def rebuild(self, tenant: str) -> int:
        """Make the tenant's index anew from the log; how many records it has."""
        async with self._taking_up[tenant]:  # or what is taken up in this moment would begin after a hole
            await self._store.write(lambda c: rows.forget(c, tenant))
        return await self.catch_up(tenant)

    async def search(self, tenant: str, said: Mapping[str, Any]) -> dict[str, Json]:
        """A page of lines, newest first, and where to go on; ``said`` as the act's arguments."""
        await self.catch_up(tenant, AT_A_SEARCH_MAX)
        sought = self.sought(tenant, said)
        found = await self._store.read(
            lambda c: rows.page(c, tenant, sought, before=said["before"], after=said["after"], limit=said["limit"])
        )
        return {
            "lines": await self._shown(tenant, found.lines),
            "older": found.older,
            "newer": found.newer,
            "since": sought.since,
            "until": sought.until,
            **await self.progress(tenant),
        }

    async def newest(self, tenant: str, sought: Sought, limit: int) -> tuple[int, list[dict[str, Json]]]:
        """The number of the first record that the index lacks, and the newest lines before it that are sought."""
        await self.catch_up(tenant, AT_A_SEARCH_MAX)
        end, found = await self._store.read(
            lambda c: (rows.tail(c, tenant).next, rows.page(c, tenant, sought, limit=limit))
        )
        return end, await self._shown(tenant, found.lines)

    async def _shown(self, tenant: str, found: Sequence[Mapping[str, Any]]) -> list[dict[str, Json]]:
        lines = [_line(one) for one in found]
        name_of = await self._names.of(tenant, {ref for line in lines for ref in (line.who, line.behalf)})
        return [shown(line, name_of) for line in lines]

    def sought(self, tenant: str, said: Mapping[str, Any]) -> Sought:
        """The act's arguments as a search: names become pseudonyms, and no window is the last week."""
        return Sought(
            since=said["since"] or max(1, seconds(self._clock) - WINDOW_SECONDS),
            until=said["until"],
            kinds=tuple(said["kinds"]),
            principal=_ref(said["principal"], "per_", lambda name: self._records.ref(tenant, "per", name)),
            action=said["action"],
            resource=_ref(said["resource"], "res_", lambda name: self._records.ref(tenant, "res", name)),
            effect=said["effect"],
            code=said["code"],
            tier=said["tier"],
            session=said["session"],
            incident=said["incident"],
            own=said["own"],
        )


def _ref(name: str, prefix: str, ref: Callable[[str], str]) -> str:
    """The pseudonym of a name; a pseudonym stays what it is."""
    return name if not name or name.startswith(prefix) else ref(name)


def _row(line: Line) -> dict[str, Any]:
    # dataclasses.asdict would copy every value deeply: a tenth of an action's CPU.
    return {name: getattr(line, name) for name in _COLUMNS} | {"own": line.quiet}


def _line(row: Mapping[str, Any]) -> Line:
    values = {name: value for name, value in row.items() if name != "own"}
    return Line(**values | {"roles": tuple(row["roles"]), "codes": tuple(row["codes"])})
