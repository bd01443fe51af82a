"""The gate's answers as typed, frozen values. Unknown fields are kept out, so that a newer gate stays readable.

Times are as the gate writes them (RFC 3339 text or whole seconds); ids are opaque text.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Json = Any
"""A JSON value."""


class Answer(BaseModel):
    """Base: frozen, unknown fields ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Reason(Answer):
    """Why: a stable code and what to do about it."""

    code: str
    remedy: str = ""


class Receipt(Answer):
    """Where a record stands in the log: origin, sequence number, leaf hash (hex)."""

    log: str
    seq: int
    leaf: str


class Problem(Answer):
    """problem+json (RFC 9457) with the gate's members."""

    type: str = ""
    title: str = ""
    status: int
    detail: str = ""
    code: str
    remedy: str = ""
    decision_id: str = ""
    reasons: tuple[Reason, ...] = ()
    receipt: Receipt | None = None

    @property
    def is_obligation(self) -> bool:
        """True where a condition of the permit failed; the gate says so in the title, whatever the code's area."""
        return self.code.startswith("obligation.") or self.title == "a condition of the permit could not be met"


class Decision(Answer):
    """Policy's answer: effect, risk tier 0..4, reasons, and the obligations' kinds with their terms."""

    id: str = ""
    effect: str = ""
    tier: int = 4
    reasons: tuple[Reason, ...] = ()
    obligations: Json = None


class Approval(Answer):
    """What a person is asked: its id, the digest that a review must repeat, and until when."""

    id: str
    digest: str = ""
    quorum: int = 1
    expires_at: Json = None
    url: str = ""


class Done(Answer):
    """A finished action. ``result`` is redacted; ``observation`` keeps it for later citation."""

    action_id: str
    status: Literal["done"] = "done"
    result: Json = None
    observation: str | None = None
    decision: Decision | None = None
    receipt: Receipt | None = None


class Waiting(Answer):
    """An action that waits for a person."""

    action_id: str
    status: Literal["waiting"] = "waiting"
    approval: Approval | None = None
    decision: Decision | None = None
    receipt: Receipt | None = None


class Planned(Answer):
    """An action of which only the plan was made (a dry run); nothing was executed."""

    action_id: str
    status: Literal["planned"] = "planned"
    plan: Json = None
    decision: Decision | None = None
    receipt: Receipt | None = None


class Session(Answer):
    """One run of an agent; ``budgets`` are the units left at opening."""

    id: str = Field(alias="session")
    expires_at: Json = None
    budgets: Mapping[str, Json] = Field(default_factory=dict)


class Observation(Answer):
    """A stored result, redacted and whole."""

    id: str = ""
    value: Json = None
    sha256: str = ""
    expires_at: Json = None


class ApprovalDetail(Answer):
    """An approval as a reviewer sees it; ``request`` and ``plan`` are redacted."""

    id: str
    status: str = ""
    action: str = ""
    resource: Mapping[str, Json] = Field(default_factory=dict)
    arguments: Mapping[str, Json] = Field(default_factory=dict)
    reason: str = ""
    requester: str = ""
    plan: Json = None
    tier: int | None = None
    digest: str = ""
    quorum: int = 1
    roles: tuple[str, ...] = ()
    expires_at: Json = None


class Review(Answer):
    """What became of one person's answer."""

    approval: str = ""
    status: str = ""
    receipt: Receipt | None = None


class Entry(Answer):
    """One record of the log, as this principal may see it."""

    seq: int
    leaf: str = ""
    record: Mapping[str, Json] = Field(default_factory=dict)


class Proof(Answer):
    """RFC 6962 inclusion proof of one record in one checkpoint; hashes are text as the gate writes them."""

    seq: int
    size: int = 0
    leaf: str = ""
    hashes: tuple[str, ...] = ()
    checkpoint: str = ""
