"""Which causes people have excluded in an incident: what they ruled out, and what they corrected."""

from collections.abc import Mapping, Sequence

from broker.model import Json
from broker.store.diagnoses import DiagnosisRow
from broker.store.incidents import Event


def is_excluded(events: Sequence[Event], diagnoses: Sequence[DiagnosisRow], component: str, fault: str) -> bool:
    """Say whether the last word of a person on this cause is no.

    A word names a component, a fault or both; what it leaves out means any. A correction says no to the diagnosis that
    it withdrew, and yes to what it names.
    """
    withdrawn = {row.id: (row.component, row.fault) for row in diagnoses}
    out = False
    for event in events:
        meant = _names(event.body, component, fault)
        if event.kind == "rule_out":
            out = out or meant
        elif event.kind == "correct":
            out = not meant and (out or withdrawn.get(str(event.body.get("diagnosis"))) == (component, fault))
    return out


def _names(body: Mapping[str, Json], component: str, fault: str) -> bool:
    """Say whether a person's word is about this cause."""
    named = (body.get("component") or "", body.get("fault") or "")
    return any(named) and named[0] in {"", component} and named[1] in {"", fault}
