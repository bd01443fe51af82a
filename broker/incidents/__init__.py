"""Incidents: from an alert to its end, as states, events and work that are one (see README.md)."""

from broker.incidents.alert import SEVERITY, Alert, fingerprint_of
from broker.incidents.desk import Facts, Incidents
from broker.incidents.merging import Merge, may_link, merge_of
from broker.incidents.states import AGENT_MAY, LIVE, STATES, TRANSITIONS, WORK_OF
from broker.store.incidents import Event, Incident

__all__ = [
    "AGENT_MAY",
    "LIVE",
    "SEVERITY",
    "STATES",
    "TRANSITIONS",
    "WORK_OF",
    "Alert",
    "Event",
    "Facts",
    "Incident",
    "Incidents",
    "Merge",
    "fingerprint_of",
    "may_link",
    "merge_of",
]
