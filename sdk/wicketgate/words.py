"""What a caller says: the target of an action, and the purpose of a session."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Resource:
    """What an action is done to; region and labels are the gate's to know."""

    type: str
    id: str
    env: str


@dataclass(frozen=True, slots=True)
class Intent:
    """One piece of a session's purpose: ``kind`` is ``task``, ``alert``, ``runbook`` or ``message``."""

    text: str
    source: str
    kind: str = "task"
