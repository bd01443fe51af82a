"""The console's navigation: which pages there are, and which of them a person's roles open."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from broker.model import Principal
from broker.web.console import words
from broker.web.console.words import nav as labels
from broker.web.routes import ROUTES

ORDER: tuple[tuple[str, str], ...] = (
    ("/console/inbox", labels.inbox),
    ("/console/incidents", labels.incidents),
    ("/console/live", labels.live),
    ("/console/agents", labels.agents),
    ("/console/audit", labels.audit),
    ("/console/exports", labels.exports),
    ("/console/policies", labels.policies),
    ("/console/simulate", labels.simulate),
    ("/console/usage", labels.usage),
    ("/console/redaction", labels.redaction),
    ("/console/keys", labels.keys),
    ("/console/health", labels.health),
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the navigation; ``why_not`` is empty where the page opens."""

    path: str
    label: str
    here: bool
    why_not: str


def entries(principal: Principal, grants: Mapping[str, Any] | None, here: str) -> list[Entry]:
    """Pages of the table, in their order."""
    actions = {route.path: route.action for route in ROUTES if route.access == "console" and route.method == "GET"}
    return [
        Entry(path, label, here == path or here.startswith(path + "/"), why_not(principal, grants, actions[path]))
        for path, label in ORDER
        if path in actions
    ]


def why_not(principal: Principal, grants: Mapping[str, Any] | None, action: str) -> str:
    """Why this person may not do ``action`` at the gate; empty where a role grants it.

    Read from the grants of the active bundle: policy denies whatever no role grants, so a reason here is always true.
    The reverse is policy's to say: other rules may still deny, and then the page that opens says why.
    """
    if action == "-" or grants is None:
        return ""
    roles: Collection[str] = principal.subject.roles
    if any(action in grants.get(role, {}) for role in roles):
        return ""
    if not roles:
        return words.common.no_role_granted.format(action=action)
    return words.common.not_granted.format(roles=", ".join(sorted(roles)), action=action)
