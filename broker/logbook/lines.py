"""A record as one line: what lists, the live view and the index show of a leaf. Derived, so it is no evidence.

What answers a request (an outcome, a review, a recovery) carries neither who asked nor for what: a line takes that over
from the record that it answers, so that one is found by what the other is found by.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from broker.model import Json
from broker.records import Entry, Records

REMEMBERED_MAX = 8_192
"""Lines and sessions kept at hand for the records that answer or continue them."""
GATES_OWN = "gate."

IncidentOf = Callable[[str, str], Awaitable[str]]
"""Tenant and session -> the incident that the session was opened in; empty for none."""


@dataclass(frozen=True, slots=True)
class Line:
    """One record. Texts that are not there are empty, a missing tier is -1; ``at`` is in seconds."""

    seq: int
    at: int
    event: str
    kind: str
    about: str = ""
    who: str = ""
    """Keyed pseudonym of who acted."""
    behalf: str = ""
    """And of the person it acted for."""
    roles: tuple[str, ...] = ()
    action: str = ""
    action_id: str = ""
    access: str = ""
    """``read`` or ``write``."""
    resource: str = ""
    """Keyed pseudonym of the resource's id."""
    target: str = ""
    """The resource in plain words, ``type/id (env)``, where the inventory knows it."""
    effect: str = ""
    tier: int = -1
    codes: tuple[str, ...] = ()
    """Reasons of the decision, the error, the outcome's code: the rules that spoke."""
    status: str = ""
    session: str = ""
    incident: str = ""
    approval: str = ""
    party: str = ""
    """What acted, where the record says it itself: ``human``, ``agent`` or ``workload``."""
    issuer: str = ""
    model: str = ""
    """Of a model call."""
    tokens_in: int = -1
    tokens_out: int = -1

    @property
    def quiet(self) -> bool:
        """Whether it is a look at the gate itself, as every page and list makes them."""
        return self.access == "read" and self.action.startswith(GATES_OWN)


class Lines:
    """Makes lines of a tenant's records in their order."""

    def __init__(self, records: Records, incident_of: IncidentOf) -> None:
        """Look answered records up in the log, sessions with ``incident_of``."""
        self._records = records
        self._incident_of = incident_of
        self._begun: OrderedDict[tuple[str, str], Line] = OrderedDict()
        self._sessions: OrderedDict[tuple[str, str], str] = OrderedDict()

    async def of(self, tenant: str, entries: Sequence[Entry]) -> list[Line]:
        """Lines of ``entries``. Raises ``AuditUnavailable``, ``StoreUnavailable``."""
        return [await self._line(tenant, entry) for entry in entries]

    async def _line(self, tenant: str, entry: Entry) -> Line:
        line = _plain(entry)
        if line.about:
            line = _answering(line, await self._answered(tenant, line.about))
        if line.session and not line.incident and (incident := await self._incident(tenant, line.session)):
            line = replace(line, incident=incident)
        if line.kind in ("intent", "proposal"):
            _keep(self._begun, (tenant, line.event), line)
        return line

    async def _answered(self, tenant: str, event: str) -> Line | None:
        known = self._begun.get((tenant, event))
        if known is None and (found := await self._records.told(tenant, event)) is not None:
            known = _plain(found[0])
            _keep(self._begun, (tenant, event), known)
        return known

    async def _incident(self, tenant: str, session: str) -> str:
        known = self._sessions.get((tenant, session))
        if known is None:
            known = await self._incident_of(tenant, session)
            _keep(self._sessions, (tenant, session), known)
        return known


def shown(line: Line, name_of: Callable[[str], str]) -> dict[str, Json]:
    """A line as answers and events carry it; ``name_of`` knows people's and agents' names, or gives an empty text."""
    return {
        "seq": line.seq,
        "at": line.at,
        "id": line.event,
        "kind": line.kind,
        "about": line.about,
        "who": line.who,
        "name": name_of(line.who),
        "behalf": line.behalf,
        "behalf_name": name_of(line.behalf),
        "roles": list(line.roles),
        "action": line.action,
        "action_id": line.action_id,
        "access": line.access,
        "resource": line.resource,
        "target": line.target,
        "effect": line.effect,
        "tier": line.tier,
        "codes": list(line.codes),
        "status": line.status,
        "session": line.session,
        "incident": line.incident,
        "approval": line.approval,
    }


def _plain(entry: Entry) -> Line:
    """What the leaf itself says."""
    record: Mapping[str, Any] = entry.record
    body: Mapping[str, Any] = record["body"]
    groups = {
        name: body.get(name, {})
        for name in ("actor", "action", "resource", "decision", "outcome", "approval", "event", "kill", "policy", "llm")
    }
    codes = (*groups["decision"].get("reasons", ()), body.get("error", ""), groups["outcome"].get("code", ""))
    action = groups["action"].get("name", "")
    return Line(
        seq=entry.seq,
        at=entry.time_ns // 10**9,
        event=entry.id,
        kind=entry.kind,
        about=record.get("about", ""),
        who=groups["actor"].get("ref", "") or groups["event"].get("by", ""),
        behalf=groups["actor"].get("on_behalf_of", ""),
        roles=tuple(groups["actor"].get("roles", ())),
        action=action,
        action_id=groups["action"].get("id", ""),
        access=groups["action"].get("effect", ""),
        resource=groups["resource"].get("ref", "") or groups["kill"].get("target_ref", ""),
        target=_target(groups["resource"]) or groups["kill"].get("target", ""),
        effect=groups["decision"].get("effect", ""),
        tier=groups["decision"].get("tier", -1),
        codes=tuple(dict.fromkeys(code for code in codes if code)),
        status=_status(groups),
        session=body.get("session", ""),
        incident=body.get("incident", ""),
        approval=groups["approval"].get("id", ""),
        party=groups["actor"].get("kind", ""),
        issuer=groups["actor"].get("issuer", ""),
        model=groups["llm"].get("model", ""),
        tokens_in=groups["llm"].get("tokens_in", -1),
        tokens_out=groups["llm"].get("tokens_out", -1),
    )


def _status(groups: Mapping[str, Mapping[str, Any]]) -> str:
    """How it ended or what was said, in one word."""
    said = groups["outcome"].get("status") or groups["approval"].get("verdict") or groups["policy"].get("verb")
    return str(said or groups["event"].get("kind") or groups["kill"].get("scope") or "")


def _target(resource: Mapping[str, Any]) -> str:
    return f"{resource['type']}/{resource['id']} ({resource['env']})" if "type" in resource else ""


def _answering(line: Line, asked: Line | None) -> Line:
    """``line`` with what it does not say itself of the request that it answers."""
    if asked is None:
        return line
    taken = {
        name: getattr(asked, name)
        for name in (
            *("who", "behalf", "roles", "action", "access"),
            *("resource", "target", "session", "incident", "model"),
        )
        if not getattr(line, name)
    }
    taken |= {"action_id": line.action_id or asked.action_id, "tier": asked.tier if line.tier < 0 else line.tier}
    return replace(line, **taken)


def _keep(kept: "OrderedDict[tuple[str, str], Any]", key: tuple[str, str], value: Any) -> None:
    kept[key] = value
    if len(kept) > REMEMBERED_MAX:
        kept.popitem(last=False)
