"""Telemetry: a structured logger, metrics and traces for operators. Evidence lives in the audit log, never here.

Nothing of a request's content, of a credential or of a person's name is ever an argument here: events carry codes,
counts, ids and durations, and ``scrub``, which judges by form, is the last step before any of them is written. Errors are
named by their class and stable code; their texts are not written, because a library's text may quote its input.
"""

import secrets
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import structlog

from broker.errors import BrokerError
from broker.model import ActionRequest, Decision, Effect, Result
from broker.telemetry.metrics import METRICS, OTHER, Metric, Metrics, Sample
from broker.telemetry.scrub import scrubbed

if TYPE_CHECKING:
    from broker.telemetry.tracing import Inbound, Tracing

__all__ = ["METRICS", "Metric", "Metrics", "Sample", "Telemetry"]

T = TypeVar("T")
Value = str | int | float | bool
Depth = tuple[str, int, int, int]
"""A queue's name, how much is in it, how much it takes, and what it turned away so far."""
_OWN_KEYS = frozenset({"event", "level", "timestamp"})
_CHAT = "llm.messages.create"


class Declared(Protocol):
    """What the catalog says of an action."""

    @property
    def name(self) -> str: ...
    @property
    def connector(self) -> str: ...
    @property
    def effect(self) -> Effect: ...


class Running(Protocol):
    """An action that was permitted: names of it are the catalog's and the inventory's, not its caller's."""

    @property
    def action(self) -> Declared: ...
    @property
    def request(self) -> ActionRequest: ...
    @property
    def endpoint(self) -> Mapping[str, str]: ...


LINE_SECONDS = 10.0
_SUSPECT = ("identity.", "login.", "http.", "json.", "console.csrf")
"""Refusals of who asks and of the form in which it is asked, which no record of the log holds: the operator reads them."""
_NO_SIGN = frozenset({
    "identity.missing", "identity.required", "identity.expired", "login.unknown", "login.closed", "login.expired", "login.idle",
})  # fmt: skip
"""Ends of what was good, and of what never was tried: counted, and no sign of anything."""


@dataclass(slots=True)
class _Trail:
    """Ids of what is under way, for the lines that are written meanwhile."""

    request: str = ""
    action: str = ""
    decision: str = ""


_TRAIL: ContextVar[_Trail | None] = ContextVar("trail", default=None)


class Telemetry:
    """One per process; passed to whoever reports something."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """Write JSON lines to stderr; durations are by ``monotonic`` seconds."""
        self.monotonic = monotonic
        self.metrics = Metrics()
        self._suspects: dict[str, tuple[float, int]] = {}
        self.tracing: Tracing | None = None
        """Made by ``trace``; without it nothing is traced, and a step costs nothing."""
        self._logger = structlog.wrap_logger(
            structlog.WriteLoggerFactory(sys.stderr)(),
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                self._correlated,
                _scrubbed,
                structlog.processors.JSONRenderer(),
            ],
        )

    def trace(
        self, *, now_ns: Callable[[], int], version: str, ratio: float, waiting_max: int, inbound: "Inbound"
    ) -> "Tracing":
        """Begin to trace; see ``tracing.TraceBounds``. Only who traces pays for the library."""
        from broker.telemetry.tracing import TraceBounds, Tracing

        bounds = TraceBounds(ratio, waiting_max, inbound)
        self.tracing = Tracing(bounds, now_ns=now_ns, version=version, count=self._sent)
        return self.tracing

    def _sent(self, end: str, many: int) -> None:
        self.metrics.inc("spans_total", end, by=many)

    # -- lines -----------------------------------------------------------------------------------------------------------

    def event(self, name: str, **fields: Value) -> None:
        """One line for the operator; ``name`` is ``<object>.<past participle>``."""
        self._logger.info(name, **fields)

    def warning(self, name: str, **fields: Value) -> None:
        """As ``event``, for what somebody should look at."""
        self._logger.warning(name, **fields)

    def crash(self, place: str, error: BaseException, reference: str = "") -> None:
        """Report an unexpected failure by class and place in our code, without its text; ``reference`` was told the caller."""
        self.metrics.inc("crashes_total", place)
        frames = [
            f"{'/'.join(Path(frame.filename).parts[-2:])}:{frame.lineno}"
            for frame in traceback.extract_tb(error.__traceback__)[-4:]
        ]
        told = {"reference": reference} if reference else {}
        at = " < ".join(reversed(frames))
        self._logger.error("gate.crashed", place=place, error=type(error).__name__, at=at, **told)

    # -- counts ----------------------------------------------------------------------------------------------------------

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count one HTTP answer."""
        self.metrics.inc("requests_total", route, str(status))
        self.metrics.observe("request_seconds", seconds, route)

    def refused(self, code: str) -> None:
        """Count one refusal by its stable code; of what could be an attempt to get by, the operator reads a line, too."""
        self.metrics.inc("refusals_total", code)
        if code.startswith(_SUSPECT) and code not in _NO_SIGN:
            self._suspected(code)

    def _suspected(self, code: str) -> None:
        """A line a code and ``LINE_SECONDS``, with how many there were since the last: a flood of them is no flood of lines."""
        now = self.monotonic()
        last, since = self._suspects.get(code, (now - LINE_SECONDS, 0))
        if now - last < LINE_SECONDS:
            self._suspects[code] = (last, since + 1)
            return
        self._suspects[code] = (now, 0)
        who = code.startswith(("identity.", "login."))
        self.warning("identity.refused" if who else "request.refused", code=code, more=since)

    def attempt_refused(self) -> None:
        """Count one request of a party that asks too often; most of these are not on record one by one."""
        self.metrics.inc("attempts_refused_total")

    @contextmanager
    def committing(self, records: int) -> Iterator[None]:
        """Around one commit of the log, on its writer's thread."""
        began = self.monotonic()
        try:
            yield
        finally:
            self.metrics.observe("log_commit_seconds", self.monotonic() - began)
            self.metrics.observe("log_batch_records", records)

    def queue(self, ask: Callable[[], Iterable[Depth]]) -> None:
        """Ask whenever somebody looks how full some queues are."""
        self.metrics.pull("queue_depth", lambda: [((one[0],), one[1]) for one in ask()])
        self.metrics.pull("queue_limit", lambda: [((one[0],), one[2]) for one in ask()])
        self.metrics.pull("queue_refusals_total", lambda: [((one[0],), one[3]) for one in ask()])

    def found(self, counts: Mapping[str, int]) -> None:
        """Count what redaction found, by kind."""
        for kind, many in counts.items():
            self.metrics.inc("redaction_findings_total", kind, by=many)

    def acted(self, running: Running, status: str, result: Result | None) -> None:
        """Count one outcome, and what a model call used."""
        declared = running.action
        self.metrics.inc("actions_total", declared.connector, declared.effect.value, status)
        for unit, direction in (("tokens_in", "input"), ("tokens_out", "output")):
            if result is not None and result.units.get(unit):
                self.metrics.inc("model_tokens_total", _model(running), direction, by=result.units[unit])

    def gauge(self, name: str, value: float) -> None:
        """Set a gauge of the table that has no labels."""
        self.metrics.set(name, value)

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return self.metrics.exposition()

    # -- what is under way -------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """A request begins: lines that are written meanwhile carry its ids."""
        _TRAIL.set(_Trail())

    def traceparent(self) -> str:
        """The mark of what is under way, to hand on; empty where nothing is traced."""
        return self.tracing.traceparent() if self.tracing else ""

    def step(self, name: str, work: Awaitable[T]) -> Awaitable[T]:
        """``work``, as a step of its own in the trace."""
        return work if self.tracing is None else self.tracing.around(name, work)

    async def action(self, action_id: str, work: Awaitable[T]) -> T:
        """``work``, which is everything that becomes of one action."""
        trail = _TRAIL.get()
        if trail is None:
            trail = _Trail()
            _TRAIL.set(trail)
        trail.action = action_id
        if self.tracing is None:
            return await work
        with self.tracing.span("action", attributes={"wicketgate.action.id": action_id}):
            return await work

    async def deciding(self, work: Awaitable[Decision]) -> Decision:
        """``work``, which is one decision: counted, timed, and its id in the lines that follow."""
        began = self.monotonic()
        if self.tracing is None:
            decision = await work
        else:
            with self.tracing.span("decide") as mark:
                decision = await work
                mark.set(_told(decision))
        self.metrics.observe("policy_seconds", self.monotonic() - began)
        self.metrics.inc("decisions_total", decision.effect, str(decision.tier), _first(decision))
        if (trail := _TRAIL.get()) is not None:
            trail.decision = decision.id
        return decision

    async def executing(self, running: Running, work: Awaitable[Result]) -> Result:
        """``work``, which is one execution at a connector: timed, its failure counted."""
        began, connector = self.monotonic(), running.action.connector
        try:
            if self.tracing is None:
                return await work
            with self.tracing.span(*_call(running)) as mark:
                result = await work
                mark.set(_usage(result.units))
                return result
        except BrokerError as error:
            self.metrics.inc("upstream_errors_total", connector, error.error_code)
            raise
        finally:
            self.metrics.observe("upstream_seconds", self.monotonic() - began, connector)

    def streaming(self, running: Running) -> "Call":
        """A call begins whose answer goes by."""
        return Call(self, running)

    # -- what stands in a line -----------------------------------------------------------------------------------------------

    def _correlated(self, _logger: Any, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """The ids of what is under way; the request's is drawn when somebody first writes about it."""
        trail = _TRAIL.get()
        if trail is not None:
            trail.request = trail.request or "req_" + secrets.token_hex(13)
            told = {"request": trail.request, "action": trail.action, "decision": trail.decision}
            line = {**{name: value for name, value in told.items() if value}, **line}
        if self.tracing is not None and (trace := self.tracing.trace_id()):
            line["trace"] = trace
        return line


class Call:
    """One model call whose answer goes by: timed and traced from its beginning to its end."""

    def __init__(self, telemetry: Telemetry, running: Running) -> None:
        self._telemetry = telemetry
        self._connector = running.action.connector
        self._began = telemetry.monotonic()
        self._mark = telemetry.tracing.begin(*_call(running)) if telemetry.tracing else None

    def end(self, units: Mapping[str, int], code: str) -> None:
        """It is over, with so many tokens; ``code`` where it did not end well."""
        self._telemetry.metrics.observe("upstream_seconds", self._telemetry.monotonic() - self._began, self._connector)
        if code:
            self._telemetry.metrics.inc("upstream_errors_total", self._connector, code)
        if self._mark is not None:
            self._mark.set(_usage(units))
            if code:
                self._mark.fault(code)
            self._mark.end()


def _scrubbed(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """The last step before a line is written."""
    return {name: value if name in _OWN_KEYS else scrubbed(name, value) for name, value in line.items()}


def _first(decision: Decision) -> str:
    return decision.reasons[0].code if decision.reasons else ""


def _told(decision: Decision) -> dict[str, Value]:
    """A decision, on its span."""
    return {
        "wicketgate.decision.id": decision.id,
        "wicketgate.decision.effect": decision.effect,
        "wicketgate.decision.tier": decision.tier,
        "wicketgate.decision.code": _first(decision),
        "wicketgate.policy.revision": decision.policy_revision,
    }


def _call(running: Running) -> tuple[str, str, dict[str, Value]]:
    """Name, kind and attributes of an execution's span; a model call's are those of the GenAI conventions."""
    declared = running.action
    attributes: dict[str, Value] = {
        "wicketgate.action.name": declared.name,
        "wicketgate.connector": declared.connector,
        "wicketgate.effect": declared.effect.value,
    }
    if declared.name != _CHAT:
        return "execute", "client", attributes
    model = _model(running)
    attributes |= {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": running.endpoint.get("provider", ""),
        "gen_ai.request.model": model,
    }
    return f"chat {model}", "client", attributes


def _model(running: Running) -> str:
    """The inventory's name of the model; one that is not in it, and so has no region, is its caller's text."""
    resource = running.request.resource
    return resource.id if resource.region else OTHER


def _usage(units: Mapping[str, int]) -> dict[str, Value]:
    """Tokens of a model call; nothing of any other."""
    names = {"tokens_in": "gen_ai.usage.input_tokens", "tokens_out": "gen_ai.usage.output_tokens"}
    return {name: units[unit] for unit, name in names.items() if unit in units}
