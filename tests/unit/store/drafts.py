"""Rows to insert, for tests of the tables themselves."""

import itertools
from typing import Any

from broker.store.approvals import Proposal, Review

_numbers = itertools.count()


def proposal_of(tenant: str, **changes: Any) -> Proposal:
    """A waiting proposal with an id and an action of its own."""
    number = next(_numbers)
    values: dict[str, Any] = {
        "id": f"apr_{number}",
        "tenant": tenant,
        "action_id": f"act_{number}",
        "session": "ses_1",
        "action": "local.process.restart",
        "resource": {"type": "process", "id": "checkout", "env": "prod"},
        "request": {"arguments": {}},
        "request_digest": "a" * 64,
        "digest": "a" * 64,
        "narrowed": None,
        "bounds": {},
        "plan": {},
        "plan_fingerprint": "f",
        "rollback_digest": "",
        "policy_revision": "r1",
        "policy_digest": "b" * 64,
        "subject": "dev:agent-1",
        "actor": "",
        "principal": {},
        "token_expires_at": 2_000,
        "quorum": 1,
        "roles": ("oncall",),
        "separation": "actor",
        "signature": False,
        "tier": 2,
        "created_at": 1_000,
        "expires_at": 2_000,
        "changed_at": 1_000,
        "state": "waiting",
    }
    return Proposal(**{**values, **changes})


def answer_of(digest: str, reviewer: str = "dev:ann", verdict: str = "approve") -> Review:
    """A person's answer."""
    return Review(
        reviewer, "human", ("oncall",), "fresh", verdict, digest, "", "", same_actor=False, same_subject=False, at=1_001
    )
