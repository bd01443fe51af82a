"""The gate's own acts about the log, as ``acts.py`` runs them: decided and on record before they come here."""

import base64
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from broker.clock import Clock, seconds
from broker.errors import BadRequest, NotFound
from broker.logbook import verdict
from broker.logbook.exports import Exports
from broker.logbook.feed import Feed, Filter
from broker.logbook.index import LogIndex
from broker.logbook.lines import Lines, shown
from broker.logbook.names import Names
from broker.model import Json, Principal
from broker.records import Entry, Records
from broker.store import Store, views
from broker.store.logindex import Sought

Act = Callable[[Principal, Mapping[str, Any]], Awaitable[Json]]
PAGE = 500


class LogActs:
    """Acts by name; ``acts.Acts`` runs them beside its own."""

    def __init__(  # noqa: PLR0913 - the composition root names each part once
        self,
        *,
        feed: Feed,
        index: LogIndex,
        records: Records,
        lines: Lines,
        names: Names,
        store: Store,
        clock: Clock,
        exports: Exports,
    ) -> None:
        self._store = store
        self._clock = clock
        self._feed = feed
        self._index = index
        self._records = records
        self._lines = lines
        self._names = names
        self.acts: Mapping[str, Act] = {
            "gate.events.read": self._follow,
            "gate.views.write": self._view,
            "gate.audit.search": self._search,
            "gate.audit.read": self._read,
            "gate.audit.export": self._export,
            "gate.exports.create": exports.create,
            "gate.exports.read": exports.read,
            "gate.exports.fetch": exports.fetch,
        }

    async def _follow(self, principal: Principal, said: Mapping[str, Any]) -> Json:
        """Whether there is a seat, where the log stands, and the newest lines; the stream itself is the route's.

        ``unseen``: how many records between those lines and the stream are in neither.
        """
        self._feed.check_seat(principal)
        head = await self._feed.head(principal.tenant)
        if not said["lines"]:
            return {"next": head, "lines": [], "unseen": 0}
        end, lines = await self._index.newest(principal.tenant, sought_of(said), said["lines"])
        # Where the index has come less far than the log, the stream brings the rest. Half of how far one may resume is
        # kept for what goes on record until it comes; where that is too little, it begins here.
        near = head - end < self._feed.resumed_max // 2
        return {"next": end if near else head, "lines": lines, "unseen": 0 if near else head - end}

    async def _view(self, principal: Principal, said: Mapping[str, Any]) -> Json:
        tenant, me, page, name = principal.tenant, principal.acting.id, said["page"], said["name"]
        if said["forget"]:
            await self._store.write(lambda c: views.forget(c, tenant, me, page, name))
        else:
            now = seconds(self._clock)
            await self._store.write(lambda c: views.save(c, tenant, me, page, name, said["query"], now))
        return {"page": page, "name": name}

    async def _search(self, principal: Principal, said: Mapping[str, Any]) -> Json:
        """What is found, and the person's own saved filters of the page ``views`` where one is named."""
        tenant, me, page = principal.tenant, principal.acting.id, said["views"]
        found = await self._index.search(tenant, said)
        if not page:
            return found
        kept = await self._store.glance(lambda c: views.of(c, tenant, me, page))
        return found | {"views": [{"name": name, "query": query} for name, query in kept]}

    async def _read(self, principal: Principal, said: Mapping[str, Any]) -> Json:
        match said["what"]:
            case "checkpoint":
                return {"checkpoint": await self._records.checkpoint(principal.tenant)}
            case "proof":
                return {"proof": await self._records.proof(principal.tenant, said["seq"])}
            case "entry":
                return await self._entry(principal.tenant, said["seq"])
            case "consistency":
                return await self._consistency(principal.tenant, said["older"], said["newer"])
            case _:
                return await self._entries(principal.tenant, said, said["limit"])

    async def _entries(self, tenant: str, said: Mapping[str, Any], limit: int) -> Json:
        found = await self._records.entries(
            tenant,
            after=said["after"],
            limit=limit,
            kinds=said.get("kinds") or None,
            stream=said.get("session") or None,
        )
        entries = [{"seq": one.seq, "leaf": one.leaf, "record": one.record} for one in found]
        return {"entries": entries, "after": found[-1].seq if found else said["after"]}

    async def _entry(self, tenant: str, seq: int) -> Json:
        """One record with its exact bytes (base64), its proof, and what holds of it."""
        entry = await self._one(tenant, seq)
        proof = await self._records.proof(tenant, seq)
        key = self._records.verifier(tenant)
        (line,) = await self._lines.of(tenant, [entry])
        return {
            "seq": seq,
            "leaf": entry.leaf,
            "record": entry.record,
            "encoded": base64.b64encode(entry.encoded).decode(),
            "line": shown(line, await self._names.of(tenant, {line.who, line.behalf})),
            "proof": proof,
            "vkey": str(key),
            "checks": [one.as_json() for one in verdict.of_entry(entry, proof, key)],
        }

    async def _one(self, tenant: str, seq: int) -> Entry:
        found = await self._records.entries(tenant, after=seq - 1, limit=1)
        if not found or found[0].seq != seq:
            raise NotFound("the log has no such record", code="audit.no_record")
        return found[0]

    async def _consistency(self, tenant: str, older: str, newer: str) -> Json:
        """Whether a kept checkpoint's tree is the beginning of another's, or of the log as it stands."""
        key = self._records.verifier(tenant)
        newer = newer or await self._records.checkpoint(tenant)
        read = [verdict.checkpoint_of(text, name, key) for text, name in ((older, "older"), (newer, "newer"))]
        (old, _), (new, _) = sorted(read, key=lambda one: one[0].size)
        path = await self._records.consistency(tenant, old.size, new.size)
        return {
            "older": {"size": old.size, "root": old.root.hex()},
            "newer": {"size": new.size, "root": new.root.hex()},
            "checkpoint": newer,
            "path": [one.hex() for one in path],
            "vkey": str(key),
            "checks": [one.as_json() for one in [*(check for _, check in read), *verdict.of_two(old, new, path)]],
        }

    async def _export(self, principal: Principal, said: Mapping[str, Any]) -> Json:
        """One page of exact leaf bytes in base64, and its digest; the caller joins pages."""
        if said["format"] != "jsonl":
            raise BadRequest("field `format` must be jsonl", code="export.format")
        found = await self._records.entries(
            principal.tenant, after=said["after"], limit=PAGE, stream=said.get("session") or None
        )
        lines = b"".join(entry.encoded + b"\n" for entry in found)
        return {
            "jsonl": base64.b64encode(lines).decode(),
            "sha256": hashlib.sha256(lines).hexdigest(),
            "entries": len(found),
            "after": found[-1].seq if found else said["after"],
        }


def sought_of(said: Mapping[str, Any]) -> Sought:
    """Arguments of ``gate.events.read`` as a search of the whole log: what ``filter_of`` lets through."""
    names = ("action", "effect", "session", "incident", "own")
    return Sought(kinds=tuple(said["kinds"]), **{name: said[name] for name in names})


def filter_of(said: Mapping[str, Any]) -> Filter:
    """Arguments of ``gate.events.read`` as a filter."""
    names = ("action", "effect", "session", "incident", "own")
    return Filter(kinds=frozenset(said["kinds"]), **{name: said[name] for name in names})
