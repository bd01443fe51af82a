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
    """An action that waits for a person, or that runs just now."""

    action_id: str
    status: Literal["waiting", "running"] = "waiting"
    approval: Approval | None = None
    decision: Decision | None = None
    receipt: Receipt | None = None


class Ended(Answer):
    """An action that ended without the result that was asked for: ``failed``, ``unknown`` or ``partial``."""

    action_id: str
    status: Literal["failed", "unknown", "partial"]
    result: Json = None
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
    """A stored result, redacted and whole; a claim may cite ``id``."""

    id: str = Field(alias="observation")
    status: str = "ok"
    """``ok``, ``empty``, ``truncated`` or ``error``: three ways of not knowing all, told apart."""
    value: Json = None
    receipt: Receipt | None = None


class ApprovalDetail(Answer):
    """A waiting request as a reviewer sees it. A list leaves out everything from ``arguments`` on."""

    id: str
    action_id: str
    action: str
    resource: Mapping[str, Json]
    requester: str
    state: str
    tier: int
    digest: str
    quorum: int
    expires_at: int
    url: str = ""
    time_box: Mapping[str, Json] | None = None
    """How silence may answer it: ``ends`` is ``runs`` (at ``due``) or ``expires``; None where it cannot."""
    arguments: Mapping[str, Json] = Field(default_factory=dict)
    reason: str = ""
    plan: Mapping[str, Json] = Field(default_factory=dict)
    roles: tuple[str, ...] = ()
    separation: str = ""
    signature: bool = False
    """Approving it needs the reviewer's signature, which a browser makes: the console."""
    policy_revision: str = ""
    reviews: tuple[Mapping[str, Json], ...] = ()


class Review(Answer):
    """What became of the request after one person's answer."""

    approval: ApprovalDetail
    receipt: Receipt | None = None


class Entry(Answer):
    """One record of the log: sequence number, leaf hash (hex), and the record itself."""

    seq: int
    leaf: str
    record: Mapping[str, Json]


class Event(Answer):
    """A record of the log as it is told live; texts that are not there are empty, a missing tier is -1."""

    seq: int
    at: int
    id: str
    kind: str
    about: str = ""
    who: str = ""
    name: str = ""
    behalf: str = ""
    behalf_name: str = ""
    action: str = ""
    action_id: str = ""
    resource: str = ""
    target: str = ""
    effect: str = ""
    tier: int = -1
    codes: tuple[str, ...] = ()
    status: str = ""
    session: str = ""
    incident: str = ""
    approval: str = ""


class Incident(Answer):
    """An incident's row. Times are whole seconds since the epoch; ``severity`` is 1 (low) to 4 (critical)."""

    id: str
    state: str
    version: int = 0
    severity: int = 2
    title: str = ""
    service: str = ""
    env: str = ""
    fingerprint: str = ""
    session: str = ""
    merged_into: str = ""
    action_id: str = ""
    diagnosis: str = ""
    since: int = 0
    until: int | None = None
    opened_at: int = 0
    changed_at: int = 0
    closed_at: int | None = None
    holder: str = ""
    alert: Mapping[str, Json] = Field(default_factory=dict)


class IncidentPage(Answer):
    """Incidents of one page; a non-empty ``after`` asks for the next."""

    incidents: tuple[Incident, ...]
    after: str = ""


class ListPart(Answer):
    """What an answer shows of a long list: ``total`` entries there are; non-empty places ask for those beyond."""

    total: int = 0
    before: str = ""
    after: str = ""
    bytes: int = 0


class EventsPart(ListPart):
    """Events that stand together, in order."""

    events: tuple[Mapping[str, Json], ...]


class IncidentDetail(Answer):
    """All that is known of one incident; what outsiders wrote in it is untrusted text."""

    incident: Incident
    events: tuple[Mapping[str, Json], ...] = ()
    """The newest; ``events_part`` says where the others are."""
    events_part: ListPart = ListPart()
    diagnoses: tuple[Mapping[str, Json], ...] = ()
    """The newest, and the one that it stands on."""
    diagnoses_part: ListPart = ListPart()
    topology: Mapping[str, Json] = Field(default_factory=dict)
    memory: tuple[Mapping[str, Json], ...] = ()
    remedies: tuple[Mapping[str, Json], ...] = ()
    asked: str = ""
    """The action of the incident that waits for people, runs, or is not judged yet."""


class Diagnosis(Answer):
    """What the gate found of a submission: ``diagnosed`` or ``inconclusive``, the verdict of each claim, what is missing."""

    id: str = Field(alias="diagnosis")
    verdict: str
    confidence_milli: int = 0
    claims: tuple[Mapping[str, Json], ...] = ()
    missing: tuple[Mapping[str, Json], ...] = ()


class Claimed(Answer):
    """Work that this agent holds until ``until``: its ``step`` of ``subject``, under ``fence``."""

    work: str
    kind: str
    subject: str
    session: str = ""
    step: int
    fence: int
    until: int
