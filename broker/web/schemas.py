"""Bodies that callers send, as pydantic models: they validate, and they are the OpenAPI description."""

import asyncio
import functools
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from broker import strictjson
from broker.config import WebSettings
from broker.errors import BadRequest
from broker.model import Json

INLINE_BYTES_MAX = 131_072
"""A larger body is parsed in a thread: the event loop goes on."""


DIGEST = "^[0-9a-f]{64}$"
BASE64URL = "^[A-Za-z0-9_-]+$"
LabelName = Annotated[str, Field(min_length=1, max_length=64)]
LabelText = Annotated[str, Field(max_length=256)]
AlertName = Annotated[str, Field(min_length=1, max_length=128)]
AlertText = Annotated[str, Field(max_length=4096)]


class Body(BaseModel):
    """A strict object: unknown fields are refused, nothing is converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class IntentBody(Body):
    """One piece of a session's purpose."""

    kind: Literal["task", "alert", "runbook", "message"]
    text: str = Field(max_length=16_384)
    source: str = Field(default="", max_length=256)


class SessionBody(Body):
    """POST /v1/sessions."""

    intent: list[IntentBody] = Field(min_length=1, max_length=16)
    agent: str = Field(default="", max_length=300)
    incident: str = Field(default="", max_length=64)
    labels: dict[LabelName, LabelText] = Field(default_factory=dict, max_length=16)


class ExportBody(Body):
    """POST /v1/exports. Times in seconds; ``until`` is excluded, 0 is no end."""

    form: Literal["jsonl", "csv", "bundle"]
    since: int = Field(default=1, ge=0, le=2**53 - 1)
    until: int = Field(default=0, ge=0, le=2**53 - 1)
    kinds: list[Annotated[str, Field(max_length=32)]] = Field(default_factory=list, max_length=16)
    principal: str = Field(default="", max_length=300)
    action: str = Field(default="", max_length=128)
    session: str = Field(default="", max_length=64)
    incident: str = Field(default="", max_length=64)
    reason: str = Field(default="", max_length=4000)


class ResourceBody(Body):
    """What an action is done to; region and labels are the inventory's."""

    type: str = Field(min_length=1, max_length=64)
    id: str = Field(min_length=1, max_length=256)
    env: str = Field(min_length=1, max_length=64)


class WorkBody(Body):
    """The claimed work that an action in an incident's session belongs to."""

    id: str = Field(max_length=64)
    fence: int = Field(ge=0)


class ActionBody(Body):
    """POST /v1/actions."""

    session: str = Field(default="", max_length=64)
    action: str = Field(min_length=3, max_length=128)
    resource: ResourceBody
    arguments: dict[str, Any] = Field(default_factory=dict, max_length=64)
    reason: str = Field(default="", max_length=4000)
    diagnosis: str = Field(default="", max_length=64)
    work: WorkBody | None = None


class AssertedBody(Body):
    """``response`` of an ``AuthenticationResponseJSON``; each text is base64url without padding."""

    clientDataJSON: str = Field(pattern=BASE64URL, max_length=2048)  # noqa: N815 - the specification's name
    authenticatorData: str = Field(pattern=BASE64URL, max_length=2048)  # noqa: N815
    signature: str = Field(pattern=BASE64URL, max_length=256)
    userHandle: str | None = Field(default=None, max_length=128)  # noqa: N815


class AssertionBody(Body):
    """What ``navigator.credentials.get()`` gave, as its ``toJSON()`` writes it."""

    id: str = Field(pattern=BASE64URL, max_length=512)
    rawId: str = Field(pattern=BASE64URL, max_length=512)  # noqa: N815
    type: Literal["public-key"]
    response: AssertedBody
    authenticatorAttachment: str | None = Field(default=None, max_length=64)  # noqa: N815
    clientExtensionResults: dict[str, Any] | None = Field(default=None, max_length=16)  # noqa: N815


class ReviewBody(Body):
    """POST /v1/approvals/{id}/reviews."""

    verdict: Literal["approve", "deny"]
    digest: str = Field(pattern=DIGEST)
    reason: str = Field(default="", max_length=4000)
    narrow: dict[str, Any] | None = Field(default=None, max_length=64)
    assertion: AssertionBody | None = None
    """The reviewer's signature, where policy wants one."""


class AcknowledgementBody(Body):
    """POST /v1/approvals/{id}/acknowledgements."""

    digest: str = Field(pattern=DIGEST)
    reason: str = Field(default="", max_length=4000)


class SubjectBody(Body):
    """Who asks in a simulation."""

    type: Literal["human", "agent", "workload"]
    id: str = Field(default="", max_length=300)
    roles: list[Annotated[str, Field(min_length=1, max_length=64)]] = Field(default_factory=list, max_length=16)


class BehalfBody(Body):
    """The person behind the agent in a simulation."""

    id: str = Field(default="", max_length=300)
    roles: list[Annotated[str, Field(min_length=1, max_length=64)]] = Field(default_factory=list, max_length=16)


class CircumstancesBody(Body):
    """What else holds in a simulation; what is left out does not."""

    session: bool = False
    tainted: bool = False
    killed: bool = False
    dry_run: bool = False
    auth_age_s: int | None = Field(default=None, ge=-1, le=31_622_400)
    acr: str = Field(default="", max_length=128)
    actions_today: int = Field(default=0, ge=0, le=1_000_000_000)
    writes_today: int = Field(default=0, ge=0, le=1_000_000_000)


class SimulateBody(Body):
    """POST /v1/policies/simulate: a whole policy input, or a request of the caller; ``digest`` names a kept bundle."""

    input: dict[str, Any] | None = None
    action: str = Field(default="", max_length=128)
    resource: ResourceBody | None = None
    arguments: dict[str, Any] = Field(default_factory=dict, max_length=64)
    reason: str = Field(default="", max_length=4000)
    subject: SubjectBody | None = None
    behalf: BehalfBody | None = None
    context: CircumstancesBody | None = None
    digest: str = Field(default="", pattern=f"{DIGEST}|^$")


class ActivateBody(Body):
    """POST /v1/policies/activate: a signed bundle in base64."""

    bundle: str = Field(max_length=1_000_000)
    signature: str = Field(max_length=4096)
    reason: str = Field(default="", max_length=4000)


class RollbackBody(Body):
    """POST /v1/policies/rollback: to a formerly active digest."""

    digest: str = Field(pattern=DIGEST)
    reason: str = Field(default="", max_length=4000)


class TargetBody(Body):
    """One target, whole."""

    type: str = Field(min_length=1, max_length=64)
    id: str = Field(min_length=1, max_length=256)
    env: str = Field(min_length=1, max_length=64)


class BreakglassBody(Body):
    """POST /v1/breakglass: what for, and for whom; 0 minutes are as many as the gate's configuration lets it."""

    actions: list[str] = Field(min_length=1, max_length=16)
    targets: list[TargetBody] = Field(min_length=1, max_length=16)
    people: list[str] = Field(default_factory=list, max_length=8)
    minutes: int = Field(default=0, ge=0, le=480)
    reason: str = Field(min_length=1, max_length=4000)


class ReasonBody(Body):
    """POST /v1/breakglass/{id}/confirm, end, review: why, or what was found."""

    reason: str = Field(min_length=1, max_length=4000)


class KillBody(Body):
    """POST /v1/kill and /v1/kill/resume."""

    scope: Literal["agent", "connector", "tenant", "all"]
    target: str = Field(default="", max_length=300)
    reason: str = Field(min_length=1, max_length=4000)


class RedactionBody(Body):
    """POST /v1/redactions: a text that is looked at and forgotten."""

    text: str = Field(min_length=1, max_length=100_000)
    profile: str = Field(default="default", pattern=r"^[a-z][a-z0-9-]{0,63}$")


class IncidentBody(Body):
    """POST /v1/incidents: an alert in the gate's own words."""

    title: str = Field(min_length=1, max_length=512)
    service: str = Field(min_length=1, max_length=256)
    env: str = Field(min_length=1, max_length=64)
    severity: Literal["critical", "high", "warning", "info"] = "warning"
    status: Literal["firing", "resolved"] = "firing"
    fingerprint: str = Field(default="", max_length=128)
    starts_at: int = Field(default=0, ge=0)
    ends_at: int = Field(default=0, ge=0)
    labels: dict[AlertName, Annotated[str, Field(max_length=1024)]] = Field(default_factory=dict, max_length=64)
    annotations: dict[AlertName, AlertText] = Field(default_factory=dict, max_length=64)
    source: str = Field(default="", max_length=256)


class EventBody(Body):
    """POST /v1/incidents/{id}/events: a note, or what a person does in an incident."""

    kind: Literal["note", "rule_out", "correct", "take_over", "hand_back", "outside_change", "close"]
    text: str = Field(default="", max_length=4000)
    component: str = Field(default="", max_length=256)
    fault: str = Field(default="", max_length=64)
    session: str = Field(default="", max_length=64)


class CauseBody(Body):
    """What is said to be broken, and how."""

    component: str = Field(min_length=1, max_length=256)
    fault: str = Field(min_length=1, max_length=64)
    summary: str = Field(default="", max_length=4000)


class ClaimBody(Body):
    """A typed statement about one observation; the gate recomputes it. Decimals are exact text."""

    observation: str = Field(pattern="^obs_[a-z0-9]{1,40}$")
    selector: str = Field(min_length=1, max_length=1024)
    op: Literal["eq", "ne", "gt", "ge", "lt", "le", "contains", "not_contains", "matches", "exists", "absent"]
    value: str | int | bool | None = None
    tolerance: str = Field(default="0", pattern=r"^(0|[1-9][0-9]{0,17})([.][0-9]{1,9})?$")
    text: str = Field(default="", max_length=2000)
    role: Literal["symptom", "cause", "prediction", "context"] = "context"
    component: str = Field(default="", max_length=256)
    at: str = Field(default="", max_length=1024)


class RuledOutBody(Body):
    """A rival cause, and the claims (by position) that speak against it."""

    component: str = Field(max_length=256)
    fault: str = Field(max_length=64)
    claims: list[Annotated[int, Field(ge=0, le=63)]] = Field(default_factory=list, max_length=16)
    why: str = Field(default="", max_length=2000)


class DiagnosisBody(Body):
    """POST /v1/incidents/{id}/diagnoses."""

    cause: CauseBody
    claims: list[ClaimBody] = Field(max_length=64)
    ruled_out: list[RuledOutBody] = Field(default_factory=list, max_length=32)
    session: str = Field(default="", max_length=64)


class ClaimWorkBody(Body):
    """POST /v1/work/claim."""

    kinds: list[Literal["incident"]] = Field(min_length=1, max_length=4)
    hold_seconds: int = Field(default=60, ge=5, le=600)


class RenewWorkBody(Body):
    """POST /v1/work/{id}/renew; ``session`` is the claimed incident's."""

    fence: int = Field(ge=0)
    hold_seconds: int = Field(default=60, ge=5, le=600)
    session: str = Field(default="", max_length=64)


class FinishWorkBody(Body):
    """POST /v1/work/{id}/finish: the step is done, and this is where the incident goes."""

    fence: int = Field(ge=0)
    step: int = Field(ge=0)
    to: str = Field(min_length=1, max_length=32)
    body: dict[str, Any] = Field(default_factory=dict, max_length=32)
    session: str = Field(default="", max_length=64)


class OpenBody(Body):
    """An object of a protocol that grows: what it does not know is left aside (AuthZEN 1.0)."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


Properties = Annotated[dict[str, Any], Field(max_length=64)]


class SubjectType(OpenBody):
    """A type of subject, for a search."""

    type: str = Field(min_length=1, max_length=64)
    properties: Properties = Field(default_factory=dict)


class SubjectName(SubjectType):
    """Who would do it."""

    id: str = Field(min_length=1, max_length=300)


class ActionName(OpenBody):
    """What would be done; its properties are the action's arguments."""

    name: str = Field(min_length=1, max_length=128)
    properties: Properties = Field(default_factory=dict)


class ResourceType(OpenBody):
    """A type of resource, for a search."""

    type: str = Field(min_length=1, max_length=64)
    properties: Properties = Field(default_factory=dict)


class ResourceName(ResourceType):
    """To what it would be done."""

    id: str = Field(min_length=1, max_length=256)


class ContextBody(OpenBody):
    """The request's surroundings; the gate reads its own, and of these only what the Obligations profile adds."""

    obligations_supported: list[Annotated[str, Field(max_length=64)]] | None = Field(default=None, max_length=16)


class EvaluationBody(OpenBody):
    """POST /access/v1/evaluation."""

    subject: SubjectName
    action: ActionName
    resource: ResourceName
    context: ContextBody = ContextBody()


class EvaluationOptions(OpenBody):
    """How far a list of questions is answered."""

    evaluations_semantic: Literal["execute_all", "deny_on_first_deny", "permit_on_first_permit"] = "execute_all"


class EvaluationsBody(OpenBody):
    """POST /access/v1/evaluations. Members beside ``evaluations`` stand for those that one of them lacks."""

    subject: dict[str, Any] | None = None
    action: dict[str, Any] | None = None
    resource: dict[str, Any] | None = None
    context: dict[str, Any] | None = None
    evaluations: list[dict[str, Any]] = Field(default_factory=list, max_length=50)
    options: EvaluationOptions = EvaluationOptions()


class PageBody(OpenBody):
    """Which part of a search's results."""

    limit: int = Field(default=50, ge=1)
    token: str = Field(default="", max_length=2700)


class SubjectSearchBody(OpenBody):
    """POST /access/v1/search/subject."""

    subject: SubjectType
    action: ActionName
    resource: ResourceName
    context: ContextBody = ContextBody()
    page: PageBody = PageBody()


class ResourceSearchBody(OpenBody):
    """POST /access/v1/search/resource."""

    subject: SubjectName
    action: ActionName
    resource: ResourceType
    context: ContextBody = ContextBody()
    page: PageBody = PageBody()


class ActionSearchBody(OpenBody):
    """POST /access/v1/search/action."""

    subject: SubjectName
    resource: ResourceName
    context: ContextBody = ContextBody()
    page: PageBody = PageBody()


async def read_object(
    data: bytes, web: WebSettings, *, model_call: bool = False, floats: bool = False
) -> dict[str, Json]:
    """Strict JSON within the bounds of ``web``; a large text is read beside the event loop. Raises ``BadRequest``."""
    read = functools.partial(
        strictjson.read_object,
        data,
        bytes_max=web.model_body_bytes_max if model_call else web.body_bytes_max,
        nodes_max=web.body_nodes_max,
        floats=model_call or floats,
    )
    return read() if len(data) <= INLINE_BYTES_MAX else await asyncio.to_thread(read)


def check(model: type[Body], value: Json) -> Any:
    """Validate a parsed object."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"])) or "body"
        raise BadRequest(
            f"field `{where}`: {first['msg'][:1].lower()}{first['msg'][1:]}", code="request.field"
        ) from None
