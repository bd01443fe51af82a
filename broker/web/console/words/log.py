"""Strings: log."""

from collections.abc import Mapping
from typing import ClassVar


class Log:
    """Of the page `log`."""

    number = "No."
    at = "When"
    kind = "Kind"
    who = "Who"
    behalf = "for"
    what = "What"
    said = "How"
    codes = "Rules and reasons"
    effect = "Decision"
    any = "any"
    own = "with looks at the gate itself"
    filter = "Filter"
    labels: ClassVar[Mapping[str, str]] = {
        "since": "From (UTC)",
        "until": "Until (UTC)",
        "principal": "Who (party id or pseudonym)",
        "action": "Action (a name, or a beginning with a dot at its end)",
        "resource": "Resource id",
        "code": "Rule or reason",
        "session": "Session",
        "incident": "Incident",
        "tier": "Risk tier",
    }
    instead: ClassVar[Mapping[str, str]] = {"refusal": "refused", "proposal": "waits"}
    kinds: ClassVar[Mapping[str, str]] = {
        "intent": "begun",
        "outcome": "ended",
        "refusal": "refused",
        "proposal": "waits for people",
        "review": "review",
        "recovery": "closed after a restart",
        "incident": "incident",
        "policy": "policy",
        "kill": "stopped",
        "resume": "resumed",
        "export": "export",
    }
