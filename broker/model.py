"""The gate's words as frozen types; no I/O, no clock, no third-party import.

Every room speaks in these. Times are whole seconds or nanoseconds since the Unix epoch, as the names say.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from broker.errors import Reason

Json = Any
"""A JSON value: None, bool, int, str, list or dict of these. Floats only inside model messages and results."""

T = TypeVar("T")


BREAKGLASS_USED = "breakglass.used"
"""Policy's reason for permitting what otherwise waits; its parameters are ``id`` and ``until_s``."""


class PartyKind(StrEnum):
    """What stands behind an identity."""

    HUMAN = "human"
    AGENT = "agent"
    WORKLOAD = "workload"


class Effect(StrEnum):
    """What an action does to its target."""

    READ = "read"
    WRITE = "write"


class Label(StrEnum):
    """Provenance: where a value came from."""

    TRUSTED = "trusted"
    UNTRUSTED = "untrusted"


OWN_ISSUER = "gate"
"""Stands as the issuer of the gate's own workload; a configured issuer is a URL, or a trust domain."""


@dataclass(frozen=True, slots=True)
class Party:
    """One identity: ``id`` is ``<issuer profile>:<sub>``, unique in the gate; roles as its issuer states them."""

    id: str
    kind: PartyKind
    roles: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. ``subject`` is whom it is about; ``actor`` is the agent that acts for a human, else None.

    Policy permits only what every party may do, so an agent on behalf has at most the intersection of both rights.
    """

    tenant: str
    subject: Party
    issuer: str
    expires_at: int
    actor: Party | None = None
    client: str = ""
    scopes: frozenset[str] = frozenset()
    auth_time: int | None = None
    acr: str = ""
    issued_at: int = 0
    """When the token was issued (``iat``): of two, the later one says which roles somebody has."""
    token_ref: str = ""
    """Hex SHA-256 of the token: names it in telemetry and caches, reveals nothing."""
    key: str = ""
    """What the token is bound to, ``dpop:<thumbprint>`` or ``mtls:<thumbprint>``; empty for a bearer's."""

    @property
    def acting(self) -> Party:
        """The party that sends the request; it is the requester of an approval."""
        return self.actor or self.subject

    @property
    def parties(self) -> tuple[Party, ...]:
        """All parties whose rights bound this request."""
        return (self.subject, self.actor) if self.actor else (self.subject,)


@dataclass(frozen=True, slots=True)
class Intent:
    """One piece of a session's purpose. Trusted only as design §1 says; the gate sets ``trusted``, never the caller."""

    kind: str
    text: str
    source: str
    author: str
    trusted: bool


@dataclass(frozen=True, slots=True)
class Session:
    """One run of an agent; it serves ``agent`` (a Party id) of ``tenant`` only."""

    id: str
    tenant: str
    opened_by: str
    agent: str
    intent: tuple[Intent, ...]
    opened_at: int
    expires_at: int
    labels: Mapping[str, str] = field(default_factory=dict)
    budgets: Mapping[str, int] = field(default_factory=dict)
    incident: str = ""
    tainted: bool = False
    """True once a result with attacker-writable fields, or an untrusted intent, entered the session."""
    closed_at: int | None = None
    named: bool = False
    """True where a human named the agent at opening (or the gate gave an incident's session to it)."""


@dataclass(frozen=True, slots=True)
class Resource:
    """What an action is done to. ``region`` and ``labels`` come from the gate's inventory, never from the caller."""

    type: str
    id: str
    env: str
    region: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


NO_TURN: Mapping[str, Json] = MappingProxyType({"tool_call": False, "relayed": False, "matches": False})


@dataclass(frozen=True, slots=True)
class ActionRequest:
    """One request in canonical form. ``digest`` is SHA-256 (hex) over the canonical bytes of everything that binds.

    The bytes hashed are decided, executed and recorded: arguments are already validated and completed by the catalog.
    """

    id: str
    tenant: str
    session: str
    action: str
    resource: Resource
    arguments: Mapping[str, Json]
    reason: str
    digest: str
    idempotency_key: str = ""
    diagnosis: str = ""
    labels: Mapping[str, Label] = field(default_factory=dict)
    """Provenance of each argument path (``$.name``)."""
    content: Json = field(default=None, repr=False)
    """A model call's body, already redacted. It is no policy input: ``arguments`` hold its digest and the facts about it."""
    turn: Mapping[str, Json] = field(default_factory=lambda: NO_TURN)
    """What the gate knows of the model turn that asked: ``tool_call`` for a call of an MCP client, ``relayed`` where the
    turn that it names went through the gate to this asker and serves this call alone, ``matches`` where it is what the
    turn said. Of who asks and not of what is done, so the digest leaves it out."""


@dataclass(frozen=True, slots=True)
class Limit:
    """At most ``max`` units of ``cost`` in ``window_s`` seconds, ``burst`` at once, counted per ``scope``."""

    name: str
    scope: str
    max: int
    window_s: int
    burst: int
    cost: int = 1


@dataclass(frozen=True, slots=True)
class TimeBox:
    """Silence counts as the approval after ``seconds``, by ``rule``, at most ``per_day`` times a day in a tenant.

    Everybody was told by then, and somebody with a role of ``acknowledge`` has said so; the gate counts.
    """

    rule: str
    seconds: int
    per_day: int
    acknowledge: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RequireApproval:
    """``quorum`` people holding one of ``roles`` must approve within ``expires_s``.

    ``separation`` is ``actor`` (the human behind an agent may approve) or ``subject`` (only somebody else may).
    """

    quorum: int
    roles: tuple[str, ...]
    expires_s: int
    separation: str = "actor"
    signature: bool = False
    time_box: TimeBox | None = None


@dataclass(frozen=True, slots=True)
class Residency:
    """Data of ``data_classes`` may be processed only in ``regions``; checked on the routed endpoint."""

    regions: tuple[str, ...]
    data_classes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Constrain:
    """Bounds on arguments, by name: ``{"max": n}``, ``{"min": n}``, ``{"one_of": […]}``, ``{"max_length": n}``."""

    arguments: Mapping[str, Mapping[str, Json]]


@dataclass(frozen=True, slots=True)
class Lease:
    """Exclusive hold of each key for ``seconds`` while the action runs."""

    keys: tuple[str, ...]
    seconds: int


@dataclass(frozen=True, slots=True)
class Redact:
    """Apply ``profile`` at ``at`` (``arguments``, ``prompt``, ``result``).

    ``restore`` maps an argument path to the entity types whose pseudonyms become real values in it, inside step 7.
    """

    profile: str
    at: tuple[str, ...]
    restore: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cap:
    """The answer shows at most ``bytes`` bytes and ``rows`` rows; the observation keeps the whole."""

    bytes: int
    rows: int


@dataclass(frozen=True, slots=True)
class DryRun:
    """Only the plan is made and answered; nothing is executed."""


Obligation = Limit | RequireApproval | Residency | Constrain | Lease | Redact | Cap | DryRun


@dataclass(frozen=True, slots=True)
class Decision:
    """Policy's answer. ``effect`` is ``permit`` or ``deny``; tier 0..4; digests are hex SHA-256."""

    id: str
    effect: str
    tier: int
    factors: tuple[str, ...]
    reasons: tuple[Reason, ...]
    obligations: tuple[Obligation, ...]
    advice: Mapping[str, Json]
    policy_revision: str
    policy_digest: str
    engine: str
    input_digest: str

    @property
    def breakglass(self) -> str:
        """The break-glass that spared this decision an approval; empty for nearly every one."""
        found = (reason.params.get("id", "") for reason in self.reasons if reason.code == BREAKGLASS_USED)
        return str(next(found, ""))

    @property
    def permitted(self) -> bool:
        """True for exactly the effect ``permit``."""
        return self.effect == "permit"


@dataclass(frozen=True, slots=True)
class Plan:
    """What an action would do, from the connector: shown to approvers; ``fingerprint`` binds the state it was made on."""

    summary: str
    fingerprint: str
    before: Json = None
    after: Json = None
    affected: tuple[str, ...] = ()
    rollback: Mapping[str, Json] | None = None
    """The rollback request ``{"action","resource","arguments"}``, or None where there is none."""


@dataclass(frozen=True, slots=True)
class Grant:
    """The single-use right to do exactly this once; minted only by ``obligations``, redeemed by the intent's append.

    ``id`` is the intent's event id. ``arguments`` are the request's with allowed pseudonyms restored: real values,
    for the connector alone.
    """

    id: str
    request: ActionRequest
    policy_revision: str
    expires_at: int
    plan_fingerprint: str = ""
    approval: str = ""
    region: str = ""
    caps: Cap | None = None
    arguments: Mapping[str, Json] = field(default_factory=dict, repr=False)
    principal: Principal | None = field(default=None, repr=False)
    """Who asked, for the gate's own acts; never a credential."""
    rule: str = ""
    """The rule by which silence counted as the approval; empty where people approved."""


class ResultStatus(StrEnum):
    """How a connector's answer is to be read; empty, failed and cut off are different answers."""

    OK = "ok"
    EMPTY = "empty"
    TRUNCATED = "truncated"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Result:
    """A connector's raw answer, before redaction. ``value`` is JSON."""

    status: ResultStatus
    value: Json
    detail: str = ""
    units: Mapping[str, int] = field(default_factory=dict)
    """Counted use: bytes, rows, tokens_in, tokens_out."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing redaction found: never the value, only where it stood and what became of it."""

    entity: str
    start: int
    end: int
    rule: str
    score: float
    path: str = ""
    token: str = ""


@dataclass(frozen=True, slots=True)
class Redacted(Generic[T]):
    """A value that went through redaction; the only type that model calls, telemetry and records accept."""

    value: T
    profile: str
    counts: Mapping[str, int]
    findings: Sequence[Finding] = ()
    withheld: int = 0
    """Leaves that could not be scanned and were replaced by a marker."""
