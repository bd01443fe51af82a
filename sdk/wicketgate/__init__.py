"""Client of the Wicketgate gate: governed actions for AI agents. Needs httpx and pydantic, nothing else."""

from wicketgate.answers import (
    Approval,
    ApprovalDetail,
    Decision,
    Done,
    Entry,
    Observation,
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
    NotDone,
    ObligationFailed,
    OnlyPlanned,
    Unavailable,
    Unreachable,
    from_problem,
)
from wicketgate.gate import Gate, Observer, current
from wicketgate.governed import Arguments, Governed, governed
from wicketgate.tokens import TokenSource, token_command, token_file, token_of
from wicketgate.wire import is_loopback
from wicketgate.words import Intent, Resource

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
    "NotDone",
    "ObligationFailed",
    "Observation",
    "Observer",
    "OnlyPlanned",
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
    "from_problem",
    "governed",
    "is_loopback",
    "token_command",
    "token_file",
    "token_of",
]
