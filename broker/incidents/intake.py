"""From an alert to an incident, inside one transaction that one alert of a tenant passes at a time.

Who changes more than one incident takes ``intake_lock`` first; who changes one takes its row alone. So nobody waits in a
circle.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from broker.config import IncidentSettings
from broker.incidents.alert import OWN, Alert
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
SEVERE = 3
"""From this severity on an alert may use the part of the room that is kept for it."""
FLOOD = f"{OWN}incident.flood"
"""Fingerprint of the one incident by which the gate says that it refuses alerts."""


def intake_lock(connection: Connection, tenant: str) -> None:
    """Let one change of several incidents of ``tenant`` pass at a time."""
    lock(connection, "intake", tenant)


@dataclass(frozen=True, slots=True)
class Flooded:
    """An alert that was refused: counted in ``notice``, and to be sent again."""

    notice: Incident
    why: str


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

    def receive(self, alert: Alert, cut: list[str]) -> Incident | Flooded | None:
        """Count it, end it, link it or open an incident; None for the end of something unknown."""
        intake_lock(self.connection, self.tenant)
        stands = rows.of_fingerprint(self.connection, self.tenant, alert.fingerprint)
        root = stands and self._root(stands)
        if alert.status == "resolved":
            return self._resolved(stands, root, alert) if stands else None
        if stands and root and (root.live or self._still_quiet(stands, alert)):
            return self._again(stands, root, alert)
        return self.open(alert, cut)

    def open(self, alert: Alert, cut: list[str], *, follows: Incident | None = None) -> Incident | Flooded:
        """Open an incident, or link it where its alert belongs. One that ``follows`` is due after a while."""
        incident_id = new_id("inc")
        graph = self.topology.graph(self.tenant, alert.env)
        near = {alert.service, *graph.upstream(alert.service), *graph.downstream(alert.service)}
        beside = rows.live(self.connection, self.tenant, alert.env, near)
        merge = None if follows else self._merge(graph, alert, beside)
        if isinstance(merge, str):
            return self._flooded(alert, merge)
        if merge is None and follows is None and self._room(alert.level) <= 0:
            return self._flooded(alert, "the tenant has as many open incidents as it may")
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
        if alert.said_at != alert.starts_at and follows is None:
            moved: dict[str, Json] = {"field": "starts_at", "said": alert.said_at, "kept": alert.starts_at}
            opened = self._tell(opened, "clamped", moved)
        if merge:
            return self._link(opened, merge)
        assert session is not None
        session_rows.add(self.connection, session)
        opened = self._relate(opened, beside)
        due = self.now_s + (self.settings.quiet_seconds if follows else 0)
        return self._step(opened, "triaging", due=due)

    def _merge(self, graph: Graph, alert: Alert, live: list[Incident]) -> Merge | str | None:
        """Where the alert belongs; why it is refused where that one is full, unless it is severe: then it stands alone."""
        found = merge_of(graph, alert.service, live, now_s=self.now_s, merge_s=self.settings.merge_seconds)
        if found and rows.count(self.connection, self.tenant, merged_into=found.into.id) >= MERGED_MAX:
            return None if alert.level >= SEVERE else "as many alerts are linked to one incident as may be"
        return found

    # -- too many ---------------------------------------------------------------------------------------------------

    def _room(self, level: int) -> int:
        """How many more incidents may be opened; a part of the room is kept for severe alerts."""
        most = self.settings.open_max
        kept = most // 5 if self.settings.open_severe is None else min(self.settings.open_severe, most)
        taken = rows.count(self.connection, self.tenant, but=FLOOD)
        return most - (0 if level >= SEVERE else kept) - taken

    def _flooded(self, alert: Alert, why: str) -> Flooded:
        """Count a refused alert in one incident of the gate's own, which people are told of once."""
        notice = rows.of_fingerprint(self.connection, self.tenant, FLOOD)
        fresh = notice and (notice.live or self.now_s - (notice.closed_at or 0) < self.settings.quiet_seconds)
        if not notice or not fresh:
            return Flooded(self._notice(why), why)
        notice = rows.counted(self.connection, notice)
        if notice.live and (notice.until is not None or self.now_s - notice.counted_at >= COUNT_EVENT_S):
            told: dict[str, Json] = {"alerts": notice.alerts, "severity": alert.level, "service": alert.service}
            notice = self._tell(notice, "duplicate", told | {"why": why}, until=None, counted_at=self.now_s)
        return Flooded(notice, why)

    def _notice(self, why: str) -> Incident:
        """Open it: for people from the start, because no agent can make room."""
        words = Alert(
            fingerprint=FLOOD,
            title="Alerts are refused: too many incidents are open",
            service="gate",
            env=self.settings.default_env,
            severity="high",
            status="firing",
            starts_at=self.now_s,
            source="gate",
            order=self.now_s,
        )
        incident_id = new_id("inc")
        session = self.session_of(incident_id, words)
        rows.add(self.connection, self._draft(incident_id, words, session.id))
        session_rows.add(self.connection, session)
        opened = rows.find(self.connection, self.tenant, incident_id)
        assert opened is not None
        opened = self._tell(opened, "received", {"title": opened.title, "service": "gate", "severity": SEVERE})
        reason: dict[str, Json] = {"reason": "incident.flood", "why": why}
        opened, _ = work_rows.move(
            self.connection, opened, kind="escalated", to="escalated", by="gate", now_s=self.now_s, body=reason
        )
        return opened

    def calm(self) -> None:
        """End the gate's notice once there is room again, for alerts of any severity."""
        notice = rows.of_fingerprint(self.connection, self.tenant, FLOOD)
        if notice and notice.live and notice.until is None and self._room(1) > 0:
            self._end(notice, {"ends_at": self.now_s, "alerts": notice.alerts}, until=self.now_s)

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
        later = _later(stands, alert)
        refired = (stands.until is not None or later) and stands.live
        louder = alert.level > stands.severity
        if not (refired or louder or self.now_s - stands.counted_at >= COUNT_EVENT_S):
            return stands
        told: dict[str, Json] = {"alerts": stands.alerts, "severity": alert.level, "truncated": alert.truncated}
        if stands.id != root.id and louder:
            self._louder(root, alert.level, "alert", {"incident": stands.id, "service": stands.service})
        columns: dict[str, Any] = {"until": None, "counted_at": self.now_s}
        if later and _theirs(stands, alert):
            columns["alert"] = {**stands.alert, "said_at": alert.said_at, "order": alert.order}
        return self._louder(stands, alert.level, "fired_again" if refired else "duplicate", told, **columns)

    def _resolved(self, stands: Incident, root: Incident | None, alert: Alert) -> Incident:
        """The alert ended. Before anybody acted that ends the incident, once all that is linked to it is quiet.

        Only who sent the alert can say so, and only of its latest beginning: the end of an earlier one comes too late.
        """
        if stands.until is not None:
            return rows.counted(self.connection, stands)
        if not _theirs(stands, alert) or _ended_before(stands, alert):
            return self._not_ended(stands, alert)
        until = alert.ends_at or self.now_s
        ended: dict[str, Json] = {"ends_at": until}
        if root is None or root.id == stands.id:
            return self._end(stands, ended, until=until)
        stands = self._tell(stands, "resolved", ended, until=until)
        if root.live:
            self._end(root, ended | {"incident": stands.id})
        return stands

    def _not_ended(self, stands: Incident, alert: Alert) -> Incident:
        """An end that is not this alert's, or not of now: put down now and then, and nothing else."""
        stands = rows.counted(self.connection, stands)
        if self.now_s - stands.counted_at < COUNT_EVENT_S:
            return stands
        why = "an earlier beginning" if _theirs(stands, alert) else "another sender"
        told: dict[str, Json] = {"why": why, "source": alert.source, "starts_at": alert.said_at}
        return self._tell(stands, "not_ended", told, counted_at=self.now_s)

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
        same = not alert.said_at or alert.order <= _order(stands)
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
        sender=str(kept.get("sender", "")),
        said_at=int(kept.get("said_at", stands.since)),
        order=_order(stands),
    )


def _theirs(stands: Incident, alert: Alert) -> bool:
    """Whether the alert comes from who sent the one that the incident keeps."""
    kept = stands.alert
    return (kept.get("sender") or alert.sender, kept.get("source")) == alert.origin


def _later(stands: Incident, alert: Alert) -> bool:
    """Whether this is a later beginning than the one that the incident knows."""
    kept = stands.alert
    return alert.said_at not in {0, kept.get("said_at", stands.since)} and alert.order > _order(stands)


def _ended_before(stands: Incident, alert: Alert) -> bool:
    """Whether what ended is an earlier beginning than the one that the incident knows."""
    if alert.said_at:
        return alert.order < _order(stands)
    return 0 < (alert.ends_at or 0) < _order(stands)


def _order(stands: Incident) -> int:
    return int(stands.alert.get("order") or stands.since)
