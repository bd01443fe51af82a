"""Client of the Wicketgate gate: governed actions for AI agents. Needs httpx and pydantic, nothing else."""

from wicketgate.answers import (
    Approval,
    ApprovalDetail,
    Decision,
    Done,
    Entry,
    Observation,
    Proof,
    Reason,
    Receipt,
    Review,
    Session,
    Waiting,
)
from wicketgate.errors import (
    ApprovalPending,
    Denied,
    GateError,
    LimitExceeded,
    NotAuthenticated,
    ObligationFailed,
    Unavailable,
    Unreachable,
)
from wicketgate.gate import Gate, Intent, Resource, current
from wicketgate.governed import Arguments, Governed, governed
from wicketgate.tokens import TokenSource, token_command, token_file, token_of

__all__ = [
    "Approval",
    "ApprovalDetail",
    "ApprovalPending",
    "Arguments",
    "Decision",
    "Denied",
    "Done",
    "Entry",
    "Gate",
    "GateError",
    "Governed",
    "Intent",
    "LimitExceeded",
    "NotAuthenticated",
    "ObligationFailed",
    "Observation",
    "Proof",
    "Reason",
    "Receipt",
    "Resource",
    "Review",
    "Session",
    "TokenSource",
    "Unavailable",
    "Unreachable",
    "Waiting",
    "current",
    "governed",
    "token_command",
    "token_file",
    "token_of",
]
