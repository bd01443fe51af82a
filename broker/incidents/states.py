"""The life of an incident: which states there are, who may ask for which step, and what each waits for.

The pairs themselves stand with the tables (``store.tables.INCIDENT_TRANSITIONS``), because a trigger in the database holds
the same.
"""

from collections.abc import Mapping

from broker.store.tables import INCIDENT_STATES, INCIDENT_TRANSITIONS, LIVE_INCIDENT_STATES
from broker.store.work import WORK_OF

STATES = INCIDENT_STATES
TRANSITIONS = INCIDENT_TRANSITIONS
LIVE = frozenset(LIVE_INCIDENT_STATES)

AGENT_MAY: Mapping[str, frozenset[str]] = {
    "triaging": frozenset({"investigating", "noise", "linked", "escalated"}),
    "investigating": frozenset({"diagnosed", "inconclusive", "noise", "linked", "escalated"}),
    "diagnosed": frozenset({"proposed", "escalated", "noise"}),
}
"""Where an agent may take an incident by finishing its step; ``diagnosed`` ends as ``noise`` only if the alert has ended."""

BEFORE_ACTION = frozenset({"received", "triaging", "investigating"})
"""States that an alert's own end closes as noise; of ``diagnosed`` see ``intake``."""
CORRECTED = frozenset({"diagnosed", "proposed", "awaiting_approval"})
"""States in which a person's correction sends the incident back to its investigation."""
AFRESH = frozenset({"triaging", "investigating"})
"""States in which it makes the agent's step begin afresh."""
TAKES_IN = frozenset(LIVE_INCIDENT_STATES) - {"noise", "mitigated", "learning"}
"""States in which an incident still takes in alerts of its own cause."""
AFTER_HOLD = frozenset({"triaging", "investigating", "escalated", "learning"})

__all__ = [
    "AFRESH",
    "AFTER_HOLD",
    "AGENT_MAY",
    "BEFORE_ACTION",
    "CORRECTED",
    "LIVE",
    "STATES",
    "TAKES_IN",
    "TRANSITIONS",
    "WORK_OF",
]
