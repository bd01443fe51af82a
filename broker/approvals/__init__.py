"""Proposals and reviews: a request waits, people answer, and what they approved runs once (see README.md)."""

from broker.approvals.boxes import Boxes
from broker.approvals.checks import Answer
from broker.approvals.desk import NO_ANSWER, Approvals, Rebind
from broker.approvals.due import Due
from broker.approvals.narrowing import bounds_of, narrowed
from broker.approvals.snapshot import principal_of, stored_principal
from broker.store.approvals import Proposal, Review
from broker.store.tables import TRANSITIONS

__all__ = [
    "NO_ANSWER",
    "TRANSITIONS",
    "Answer",
    "Approvals",
    "Boxes",
    "Due",
    "Proposal",
    "Rebind",
    "Review",
    "bounds_of",
    "narrowed",
    "principal_of",
    "stored_principal",
]
