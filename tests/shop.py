"""A small shop as the incident rooms' tests know it: its topology, its alerts, and one tenant's desk and work."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import text

from broker.clock import SeededClock
from broker.config import GateSettings, IncidentSettings, InventoryItem, Settings
from broker.incidents import Alert, Event, Incident, Incidents
from broker.sessions import Sessions
from broker.store import Connection, Store
from broker.store.diagnoses import DiagnosisRow, add
from broker.topology import Topology
from broker.work import GATE_KINDS, Claimed, Work
from tests.stores import fresh_tenant

NEEDS: Mapping[str, tuple[str, ...]] = {
    "storefront": ("checkout", "search"),
    "checkout": ("payments", "inventory"),
    "payments": (),
    "inventory": (),
    "search": (),
}
OWNERS: Mapping[str, tuple[str, ...]] = {"checkout": ("dev:carl", "team-shop"), "payments": ("dev:paula",)}
AGENT = "dev:agent-1"


def inventory(*tenants: str) -> tuple[InventoryItem, ...]:
    """The shop's services in two environments, seen by ``tenants``."""
    return tuple(
        InventoryItem(
            type="process",
            id=name,
            env=env,
            region="eu-west-1",
            depends_on=needed,
            owners=OWNERS.get(name, ()),
            tenants=tenants,
        )
        for env in ("prod", "staging")
        for name, needed in NEEDS.items()
    )


def alert(service: str = "checkout", **changes: Any) -> Alert:
    """An alert that fires; each service's has its own fingerprint."""
    values: dict[str, Any] = {
        "fingerprint": f"fp-{service}",
        "title": f"errors of {service}",
        "service": service,
        "env": "prod",
        "severity": "high",
        "status": "firing",
        "starts_at": 1_767_225_500,
        "labels": {"alertname": "Errors", "service": service},
        "annotations": {"summary": f"errors of {service}"},
        "source": "alertmanager:shop",
        "trusted": {"alertname": "Errors"},
    }
    return Alert(**{**values, **changes})


def refuse_inserts(connection: Connection, table: str, tenant: str) -> None:
    """Let the database itself refuse every new row of ``tenant`` in ``table`` from now on."""
    name = f"broken_{table}_{tenant.replace('-', '_')}"
    body = "BEGIN SELECT RAISE(ABORT, 'broken'); END"
    when = f"WHEN (NEW.tenant = '{tenant}')"
    if connection.dialect.name != "sqlite":
        body = "EXECUTE FUNCTION refuse_change()"
    connection.execute(text(f"CREATE TRIGGER {name} BEFORE INSERT ON {table} FOR EACH ROW {when} {body}"))


class Shop:
    """One tenant's incidents and work on a store that others may share."""

    def __init__(self, store: Store, **settings: Any) -> None:
        self.store = store
        self.tenant = fresh_tenant()
        self.clock = SeededClock()
        self.sessions = Sessions(store, self.clock)
        whole = Settings(gate=GateSettings(default_tenant=self.tenant), inventory=inventory(self.tenant))
        self.incidents = Incidents(store, self.clock, self.sessions, Topology.of(whole), IncidentSettings(**settings))
        self.work = Work(store, self.clock)

    async def receive(self, service: str = "checkout", **changes: Any) -> Incident:
        """Take an alert in, and its events on record."""
        found = await self.incidents.receive(self.tenant, alert(service, **changes), by="dev:alertmanager")
        assert found is not None
        await self.record()
        return found

    async def record(self) -> list[str]:
        """Let the log have every event; returns their ids in order."""
        found = await self.incidents.unrecorded(self.tenant, most=1_000)
        for event in found:
            await self.incidents.recorded(self.tenant, event.id)
        return [event.id for event in found]

    async def claim(self, *kinds: str, holder: str = "", hold_s: int = 60) -> Claimed:
        """Claim what is due; there must be something."""
        await self.record()
        asked = kinds or ("incident",)
        by = holder or ("gate" if set(asked) <= set(GATE_KINDS) else AGENT)
        found = await self.work.claim(self.tenant, asked, by, hold_s)
        assert found is not None
        return found

    async def finish(self, claimed: Claimed, to: str, **body: Any) -> Incident:
        """End an agent's step."""
        return await self.incidents.finish(
            self.tenant,
            claimed.id,
            holder=claimed.holder,
            fence=claimed.fence,
            step=claimed.step,
            to=to,
            by=claimed.holder,
            body=body,
        )

    async def step(self, incident: Incident, to: str, **body: Any) -> Incident:
        """A step of the gate's own."""
        return await self.incidents.advance(self.tenant, incident.id, to=to, by="gate", body=body)

    async def diagnosed(self, incident: Incident, verdict: str = "diagnosed", **changes: Any) -> str:
        """Put a diagnosis there, as the evidence room does; returns its id."""
        values: dict[str, Any] = {
            "tenant": self.tenant,
            "id": f"dgn_{uuid.uuid4().hex[:26]}",
            "incident": incident.id,
            "session": incident.session,
            "verdict": verdict,
            "confidence_milli": 800,
            "verified": 2,
            "refuted": 0,
            "sources": 2,
            "signals": 2,
            "component": "payments",
            "fault": "bad-config",
            "cause": {"component": "payments", "fault": "bad-config"},
            "claims": [{"observation": "obs_1", "selector": "$.n", "op": "gt", "value": 5, "verdict": "verified"}],
            "ruled_out": [{"component": "search", "fault": "crash", "claims": [0], "why": "it answers"}],
            "missing": [],
            "at": self.clock.now_ns() // 10**9,
        }
        row = DiagnosisRow(**{**values, **changes})
        await self.store.write(lambda c: add(c, row))
        return row.id

    async def to_state(self, incident: Incident, *path: str) -> Incident:
        """Walk an incident along ``path`` as agents and the gate would."""
        for to in path:
            body: dict[str, Any] = {}
            if to == "diagnosed":
                body["diagnosis"] = await self.diagnosed(incident)
            if to == "proposed":
                body["action_id"] = "act_1"
            incident = await self.step(incident, to, **body)
        return incident

    async def kinds(self, incident: Incident) -> list[str]:
        """Kinds of its events in order."""
        return [event.kind for event in await self.incidents.events(self.tenant, incident.id)]

    async def last(self, incident: Incident) -> Event:
        """Its newest event."""
        return (await self.incidents.events(self.tenant, incident.id))[-1]

    async def get(self, incident: Incident) -> Incident:
        """The incident as it stands now."""
        return await self.incidents.get(self.tenant, incident.id)


EXECUTED: Sequence[str] = (
    "investigating",
    "diagnosed",
    "proposed",
    "auto_ok",
    "leased",
    "executing",
    "verifying",
)
"""The way of an incident from triage to the verification of what was done."""
