"""Past results, as evidence reads them: an action's intent and outcome, from the log alone.

Payloads are checked against the commitments in their leaves when they are read; one that does not fit makes the log
unavailable, and nothing is judged on it.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from broker.answers import action_of_observation, observation_id
from broker.evidence import Kept
from broker.model import Effect, Json, ResultStatus
from broker.records import Entry, Records

ACTIONS_MAX = 2_000
PAGE = 500
READ_TIER = 0
_KINDS = ["intent", "outcome"]
"""A recovery stands in no session's stream: it is looked up by its action."""
_LEFT_OUT = frozenset({"gate", "llm", "notify"})


class KeptInLog:
    """``evidence.KeptResults`` over the audit log."""

    def __init__(self, records: Records) -> None:
        """Read through ``records``."""
        self._records = records

    async def kept(self, tenant: str, observation: str) -> Kept | None:
        """What the tenant's log keeps of the observation; raises ``AuditUnavailable`` where it cannot be read."""
        action_id = action_of_observation(observation)
        intent = await self._records.told(tenant, action_id)
        if intent is None or intent[0].kind != "intent":
            return None
        outcome = await self._records.told(tenant, f"{action_id}.outcome")
        if outcome is not None and outcome[0].kind == "recovery":
            outcome = await self._records.told(tenant, f"{action_id}.outcome.late")
        entry, asked = intent
        body = entry.body
        kept = outcome[1] if outcome else None
        return Kept(
            session=str(body.get("session") or ""),
            action=str(body["action"]["name"]),
            connector=str(body["action"]["connector"]),
            effect=str(body["action"]["effect"]),
            resource=_resource(body, asked),
            arguments=_arguments(asked),
            at=(outcome[0] if outcome else entry).time_ns // 1_000_000_000,
            status=result_status(kept),
            value=kept.get("result") if isinstance(kept, Mapping) else None,
            erased=asked is None or (outcome is not None and kept is None),
        )

    async def actions(self, tenant: str, sessions: Sequence[str]) -> list[dict[str, Json]]:
        """Reads and writes of these sessions on record, oldest first, at most ``ACTIONS_MAX``; redacted, as the log has them.

        Each: ``{"action_id","observation","action","resource","arguments","effect","status","at","by"}``. The gate's own
        acts and model calls are left out; ``status`` is ``open`` where no outcome is on record. Where there are more,
        reads make room for writes, and of each the later ones are left out, session by session.
        """
        of = RecordedActions(self._records, tenant, sessions)
        found = [await of.whole(outline) for outline in await of.first(ACTIONS_MAX)]
        return sorted(found, key=lambda one: (one["at"], one["action_id"]))

    def recorded(self, tenant: str, sessions: Sequence[str]) -> "RecordedActions":
        """The same one by one, without a bound."""
        return RecordedActions(self._records, tenant, sessions)

    async def refused(self, tenant: str, sessions: Sequence[str]) -> list[dict[str, Json]]:
        """Writes of these sessions that policy refused, each once, oldest first, by what the records say.

        Each: ``{"action_id","action","resource","status": "refused","code","reasons": [codes],"at"}``.
        """
        found: dict[str, dict[str, Json]] = {}
        for session in sessions:
            page = await self._records.entries(tenant, after=-1, limit=PAGE, kinds=["refusal"], stream=session)
            for entry in page:
                body = entry.body
                action, decision = body["action"], body.get("decision") or {"tier": READ_TIER}
                own = action["name"].partition(".")[0] in _LEFT_OUT
                if decision["tier"] == READ_TIER or own or action["id"] in found:
                    continue
                found[action["id"]] = {
                    "action_id": action["id"],
                    "action": action["name"],
                    "resource": _resource(body, None),
                    "status": "refused",
                    "code": body["error"],
                    "reasons": list(decision["reasons"]),
                    "at": entry.time_ns // 1_000_000_000,
                }
        return sorted(found.values(), key=lambda one: (one["at"], one["action_id"]))


class RecordedActions:
    """``incidents.story.Recorded`` over the audit log: holds one page of it, and what has no outcome yet."""

    def __init__(self, records: Records, tenant: str, sessions: Sequence[str]) -> None:
        """The actions of ``sessions`` of ``tenant``, but the gate's own acts and model calls."""
        self._records = records
        self._tenant = tenant
        self._sessions = sessions

    async def outlines(self) -> AsyncIterator[dict[str, Json]]:
        """Each when its outcome comes by; after each session's, those of it that have none."""
        for session in self._sessions:
            begun: dict[str, dict[str, Json]] = {}
            async for entry in self._entries(session):
                about = str(entry.record.get("about", ""))
                _take(begun, entry)
                if entry.kind == "outcome" and about in begun:
                    yield begun.pop(about)
            for outline in begun.values():
                yield outline

    async def first(self, most: int) -> list[dict[str, Json]]:
        """At most ``most``, in the order in which they began: writes before reads, however and whenever they ended.

        All of the sessions is read; their budgets of actions bound how much that is.
        """
        found: dict[str, dict[str, Json]] = {}
        reads: list[str] = []
        for session in self._sessions:
            async for entry in self._entries(session):
                _take(found, entry)
                if entry.kind != "intent" or entry.id not in found:
                    continue
                if found[entry.id]["effect"] != Effect.WRITE:
                    reads.append(entry.id)
                if len(found) > most:
                    del found[reads.pop() if reads else entry.id]
        return list(found.values())

    async def whole(self, outline: Mapping[str, Json]) -> dict[str, Json]:
        """``outline`` with its redacted arguments, who asked, and what for where the inventory does not know it.

        What a recovery says of it stands there where its outcome is not on record.
        """
        action_id = str(outline["action_id"])
        told = await self._records.told(self._tenant, action_id)
        asked = told[1] if told else None
        recovered = (
            await self._records.told(self._tenant, f"{action_id}.outcome") if outline["status"] == "open" else None
        )
        ended = recovered[0].body if recovered else {"outcome": {}}
        return {
            **outline,
            "status": ended["outcome"].get("status", outline["status"]),
            "resource": outline["resource"] or _asked_for(asked),
            "arguments": _arguments(asked),
            "by": str(asked["who"][-1]) if isinstance(asked, Mapping) and asked.get("who") else "",
        }

    async def _entries(self, session: str) -> AsyncIterator[Entry]:
        """Intents, outcomes and recoveries of one session, page by page."""
        after = -1
        while True:
            page = await self._records.entries(self._tenant, after=after, limit=PAGE, kinds=_KINDS, stream=session)
            for entry in page:
                yield entry
            if len(page) < PAGE:
                return
            after = page[-1].seq


def _take(begun: dict[str, dict[str, Json]], entry: Entry) -> None:
    """Put an intent there, or the status where what it is about stands there."""
    body = entry.body
    about = str(entry.record.get("about", ""))
    if entry.kind == "intent" and body["action"]["connector"] not in _LEFT_OUT:
        begun[entry.id] = _outline(entry, body)
    elif about in begun:
        begun[about]["status"] = body["outcome"]["status"]


def _outline(entry: Entry, body: Mapping[str, Any]) -> dict[str, Json]:
    """An intent as its leaf tells it."""
    return {
        "action_id": entry.id,
        "observation": observation_id(entry.id),
        "action": body["action"]["name"],
        "resource": _known(body),
        "effect": body["action"]["effect"],
        "status": "open",
        "at": entry.time_ns // 1_000_000_000,
    }


def _resource(body: Mapping[str, Any], asked: Json) -> dict[str, str]:
    """The resource in the inventory's words, or the bare id that was asked for."""
    return _known(body) or _asked_for(asked)


def _known(body: Mapping[str, Any]) -> dict[str, str]:
    """The resource in the inventory's words; empty where it knows none."""
    told = body.get("resource", {})
    return {name: str(told[name]) for name in ("type", "id", "env") if name in told}


def _asked_for(asked: Json) -> dict[str, str]:
    """The bare id of a resource, by the payload."""
    return {"id": str(asked["resource"]) if asked else ""}


def result_status(kept: Json) -> ResultStatus | None:
    """The result's own status; None where no result was kept."""
    if not isinstance(kept, Mapping) or "result" not in kept:
        return None
    answer = kept.get("answer") or {}
    word = answer.get("result", {}).get("status", "error") if isinstance(answer, Mapping) else "error"
    return ResultStatus(word) if word in set(ResultStatus) else ResultStatus.ERROR


def _arguments(asked: Json) -> dict[str, Json]:
    """The redacted arguments, where they are an object."""
    given = asked.get("arguments") if isinstance(asked, Mapping) else None
    return dict(given) if isinstance(given, Mapping) else {}
