"""From an alert to an incident, inside one transaction that one alert of a tenant passes at a time.

Who changes more than one incident takes ``intake_lock`` first; who changes one takes its row alone. So nobody waits in a
circle.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from broker.config import IncidentSettings
from broker.errors import LimitExceeded
from broker.incidents.alert import Alert
from broker.incidents.merging import Merge, merge_of
from broker.incidents.states import BEFORE_ACTION
from broker.model import Json, Session
from broker.store import Connection
from broker.store import incidents as rows
from broker.store import sessions as session_rows
from broker.store import work as work_rows
from broker.store.incidents import Incident
from broker.store.rows import lock, new_id
from broker.topology import Graph, Topology

COUNT_EVENT_S = 60
"""Repetitions of an alert are all counted; at most one in so many seconds is an event."""
MERGED_MAX = 200
RELATED_MAX = 16


def intake_lock(connection: Connection, tenant: str) -> None:
    """Let one change of several incidents of ``tenant`` pass at a time."""
    lock(connection, "intake", tenant)


@dataclass(frozen=True, slots=True)
class Intake:
    """One alert on its way in; its methods run inside the transaction of ``connection``."""

    connection: Connection
    tenant: str
    topology: Topology
    settings: IncidentSettings
    session_of: Callable[[str, Alert], Session]
    """Drafts the session of an incident, by its id."""
    by: str
    now_s: int

    def receive(self, alert: Alert, cut: list[str]) -> Incident | None:
        """Count it, end it, link it or open an incident; None for the end of something unknown."""
        intake_lock(self.connection, self.tenant)
        stands = rows.of_fingerprint(self.connection, self.tenant, alert.fingerprint)
        root = stands and self._root(stands)
        if alert.status == "resolved":
            return self._resolved(stands, root, alert) if stands else None
        if stands and root and (root.live or self._still_quiet(stands, alert)):
            return self._again(stands, root, alert)
        return self.open(alert, cut)

    def open(self, alert: Alert, cut: list[str], *, follows: Incident | None = None) -> Incident:
        """Open an incident, or link it where its alert belongs. One that ``follows`` is due after a while."""
        if follows is None and rows.count(self.connection, self.tenant) >= self.settings.open_max:
            raise _flood("the tenant has as many open incidents as it may")
        incident_id = new_id("inc")
        graph = self.topology.graph(self.tenant, alert.env)
        near = {alert.service, *graph.upstream(alert.service), *graph.downstream(alert.service)}
        beside = rows.live(self.connection, self.tenant, alert.env, near)
        merge = None if follows else self._merge(graph, alert, beside)
        session = None if merge else self.session_of(incident_id, alert)
        rows.add(self.connection, self._draft(incident_id, alert, session.id if session else ""))
        opened = rows.find(self.connection, self.tenant, incident_id)
        assert opened is not None
        told: dict[str, Json] = {"title": opened.title, "service": opened.service, "env": opened.env}
        told |= {"severity": opened.severity, "source": alert.source, "starts_at": alert.starts_at}
        if follows is not None:
            told |= {"follows": follows.id, "into": follows.merged_into}
        opened = self._tell(opened, "received", told)
        if alert.truncated or cut:
            opened = self._tell(opened, "truncated", {"alerts": alert.truncated, "texts": list(cut)})
        if merge:
            return self._link(opened, merge)
        assert session is not None
        session_rows.add(self.connection, session)
        opened = self._relate(opened, beside)
        due = self.now_s + (self.settings.quiet_seconds if follows else 0)
        return self._step(opened, "triaging", due=due)

    def _merge(self, graph: Graph, alert: Alert, live: list[Incident]) -> Merge | None:
        """Where the alert belongs, bounded."""
        found = merge_of(graph, alert.service, live, now_s=self.now_s, merge_s=self.settings.merge_seconds)
        if found and rows.count(self.connection, self.tenant, merged_into=found.into.id) >= MERGED_MAX:
            raise _flood("as many alerts are linked to one incident as may be")
        return found

    def _draft(self, incident_id: str, alert: Alert, session: str) -> Incident:
        """A new row."""
        return Incident(
            id=incident_id,
            tenant=self.tenant,
            state="received",
            version=0,
            title=alert.title,
            service=alert.service,
            env=alert.env,
            severity=alert.level,
            fingerprint=alert.fingerprint,
            session=session,
            merged_into="",
            action_id="",
            diagnosis="",
            since=alert.starts_at or self.now_s,
            until=None,
            opened_at=self.now_s,
            changed_at=self.now_s,
            closed_at=None,
            holder="",
            alert=alert.as_json(),
            alerts=1,
            counted_at=self.now_s,
        )

    def _link(self, opened: Incident, merge: Merge) -> Incident:
        """Link the new incident, and tell the one that takes it in."""
        into = rows.find(self.connection, self.tenant, merge.into.id, lock="wait")
        assert into is not None
        path: list[Json] = list(merge.path)
        why: dict[str, Json] = {"into": into.id, "why": merge.why, "path": path}
        linked, _ = work_rows.move(
            self.connection,
            opened,
            kind="linked",
            to="linked",
            by="gate",
            now_s=self.now_s,
            body=why,
            merged_into=into.id,
        )
        told: dict[str, Json] = {"incident": linked.id, "service": linked.service, "title": linked.title}
        self._louder(into, linked.severity, "alert", told | {"why": merge.why, "path": path})
        return linked

    def _relate(self, opened: Incident, beside: list[Incident]) -> Incident:
        """Tell incidents on the same way through the topology of each other; none is linked by that."""
        related = beside[-RELATED_MAX:]
        for other in related:
            stands = rows.find(self.connection, self.tenant, other.id, lock="wait")
            if stands and stands.live:
                self._tell(stands, "related", {"incident": opened.id, "service": opened.service})
        if not related:
            return opened
        names: list[Json] = [{"incident": one.id, "service": one.service, "state": one.state} for one in related]
        return self._tell(opened, "related", {"incidents": names})

    def _again(self, stands: Incident, root: Incident, alert: Alert) -> Incident:
        """The same alert once more: counted, and now and then an event."""
        stands = rows.counted(self.connection, stands)
        refired = stands.until is not None and stands.live
        louder = alert.level > stands.severity
        if not (refired or louder or self.now_s - stands.counted_at >= COUNT_EVENT_S):
            return stands
        told: dict[str, Json] = {"alerts": stands.alerts, "severity": alert.level, "truncated": alert.truncated}
        if stands.id != root.id and louder:
            self._louder(root, alert.level, "alert", {"incident": stands.id, "service": stands.service})
        return self._louder(
            stands, alert.level, "fired_again" if refired else "duplicate", told, until=None, counted_at=self.now_s
        )

    def _resolved(self, stands: Incident, root: Incident | None, alert: Alert) -> Incident:
        """The alert ended. Before anybody acted that ends the incident, once all that is linked to it is quiet."""
        if stands.until is not None:
            return rows.counted(self.connection, stands)
        until = alert.ends_at or self.now_s
        ended: dict[str, Json] = {"ends_at": until}
        if root is None or root.id == stands.id:
            return self._end(stands, ended, until=until)
        stands = self._tell(stands, "resolved", ended, until=until)
        if root.live:
            self._end(root, ended | {"incident": stands.id})
        return stands

    def _end(self, root: Incident, told: dict[str, Json], **columns: Any) -> Incident:
        """Put down that an alert ended, and end the incident where nothing hangs on it any more."""
        until = columns.get("until", root.until)
        quiet = until is not None and not rows.merged(self.connection, self.tenant, root.id, firing=True)
        to = self._ends_as(root) if quiet and root.live else ""
        if not to:
            return self._tell(root, "resolved", told, **columns)
        moved, _ = work_rows.move(
            self.connection, root, kind="resolved", to=to, by=self.by, now_s=self.now_s, body=told, **columns
        )
        return moved

    def _ends_as(self, root: Incident) -> str:
        """The state to which an alert's end leads; empty where it is only a fact.

        Of ``diagnosed`` it does while no agent has begun that step: one that has may have acted, and must say so.
        """
        if root.state == "escalated":
            return "learning"
        if root.state in BEFORE_ACTION:
            return "noise"
        if root.state != "diagnosed":
            return ""
        row = work_rows.find(self.connection, self.tenant, work_rows.id_of_incident(root.id), lock=True)
        begun = row is None or (row.kind == "incident" and row.attempts > 0)
        return "" if begun else "noise"

    def _still_quiet(self, stands: Incident, alert: Alert) -> bool:
        """Whether this is the alert of an incident that was just closed, still firing: not a new one yet."""
        if stands.until is not None or stands.closed_at is None:
            return False
        same = not alert.starts_at or alert.starts_at <= stands.since
        return same and self.now_s - stands.closed_at < self.settings.quiet_seconds

    def _root(self, stands: Incident) -> Incident:
        """The incident that works on this one's alert: itself, or the one it is linked into."""
        if stands.state != "linked":
            return stands
        return rows.find(self.connection, self.tenant, stands.merged_into, lock="wait") or stands

    def _louder(self, stands: Incident, severity: int, kind: str, told: dict[str, Json], **columns: Any) -> Incident:
        """Put down an event, and the higher severity of the two."""
        if severity <= stands.severity:
            return self._tell(stands, kind, told, **columns)
        after = self._tell(stands, kind, told, severity=severity, **columns)
        work_rows.raised(self.connection, after)
        return after

    def _tell(self, stands: Incident, kind: str, told: dict[str, Json], **columns: Any) -> Incident:
        """Put down one event that changes no state."""
        after, _ = rows.change(self.connection, stands, kind=kind, by=self.by, now_s=self.now_s, body=told, **columns)
        return after

    def _step(self, stands: Incident, to: str, due: int) -> Incident:
        """One step of the gate's own."""
        after, _ = work_rows.move(self.connection, stands, kind=to, to=to, by="gate", now_s=self.now_s, due=due)
        return after


def alert_of(stands: Incident) -> Alert:
    """The alert that an incident keeps."""
    kept = dict(stands.alert)
    return Alert(
        fingerprint=stands.fingerprint,
        title=stands.title,
        service=stands.service,
        env=stands.env,
        severity=str(kept["severity"]),
        status="firing",
        starts_at=stands.since,
        labels=dict(kept["labels"]),
        annotations=dict(kept["annotations"]),
        source=str(kept["source"]),
        truncated=int(kept["truncated"]),
        trusted=dict(kept["trusted"]),
    )


def _flood(detail: str) -> LimitExceeded:
    """Build the answer to one alert too many."""
    return LimitExceeded(
        detail,
        code="incident.flood",
        remedy="close what is done, mend the alert that repeats, or ask the operator for a larger `incidents.open_max`",
        retry_after=60.0,
    )
