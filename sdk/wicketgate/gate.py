"""``Gate``: the whole HTTP API as one async client.

::

    async with Gate("http://localhost:8480", token=token_command("wicketgate", "token", "--as", "agent")) as gate:
        async with gate.session([Intent(text="checkout is slow", source="me")]):
            done = await gate.act("local.metrics.query", Resource("process", "checkout", "prod"), {"window_seconds": 60})
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Self

import httpx

from wicketgate.answers import (
    ApprovalDetail,
    Done,
    Entry,
    Json,
    Observation,
    Planned,
    Problem,
    Proof,
    Review,
    Session,
    Waiting,
)
from wicketgate.errors import ApprovalPending, GateError, OnlyPlanned
from wicketgate.tokens import TokenSource
from wicketgate.wire import Sending, Sleep, Wire, is_loopback

HOLD_SECONDS = 25.0
"""How long one read of a waiting action is kept open; a longer wait is several reads."""


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


Observer = Callable[[Mapping[str, Json], "Done | GateError | None"], None]
"""Told of every action: the request with None when it is sent, then with its result or the refusal."""

_current: ContextVar[tuple["Gate", str] | None] = ContextVar("wicketgate_session", default=None)


def current() -> tuple["Gate", str]:
    """The gate and session id of the surrounding ``async with gate.session(…)``; raises ``LookupError`` outside one."""
    here = _current.get()
    if here is None:
        raise LookupError("no session is open here: use `async with gate.session(…)`, or pass session=")
    return here


class Gate:
    """One principal's way through one gate. Safe to share between tasks; close it, or use it as a context."""

    def __init__(  # noqa: PLR0913 - two addresses and four knobs, all optional but the first
        self,
        url: str,
        token: TokenSource | None = None,
        *,
        patience: float = 10.0,
        timeout: float = 30.0,
        client: httpx.AsyncClient | None = None,
        observer: Observer = lambda _request, _answer: None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """``timeout`` and ``patience`` are seconds: of one attempt, and of all waits between the attempts of a call.

        ``client`` brings your own TLS and proxy settings; it stays yours to close. ``observer`` is told of every
        action, for your own telemetry.
        """
        self._observer = observer
        self._own = client is None
        self._client = client or httpx.AsyncClient(timeout=timeout, trust_env=not is_loopback(url))
        self.wire = Wire(url, token, client=self._client, patience=patience, sleep=sleep)
        self.sessions = Sessions(self.wire)
        self.actions = Actions(self.wire)
        self.observations = Observations(self.wire)
        self.approvals = Approvals(self.wire)
        self.policies = Policies(self.wire)
        self.audit = Audit(self.wire)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Give back the connections."""
        if self._own:
            await self._client.aclose()

    @asynccontextmanager
    async def session(
        self, intent: Sequence[Intent], *, agent: str = "", incident: str = "", labels: Mapping[str, str] | None = None
    ) -> AsyncIterator[Session]:
        """Open a session and make it the current one for ``act`` and governed functions inside the block."""
        opened = await self.sessions.open(intent, agent=agent, incident=incident, labels=labels)
        mark = _current.set((self, opened.id))
        try:
            yield opened
        finally:
            _current.reset(mark)

    async def act(  # noqa: PLR0913 - one keyword a field of the request
        self,
        action: str,
        resource: Resource,
        arguments: Mapping[str, Json] | None = None,
        *,
        reason: str = "",
        session: str = "",
        diagnosis: str = "",
        work: Mapping[str, Json] | None = None,
        wait: float = 0.0,
        key: str = "",
        patience: float | None = None,
    ) -> Done:
        """Ask for ``action`` on ``resource`` and return its result.

        ``wait`` is how many seconds to wait for a person where one must approve; then, or at once for 0, it raises
        ``ApprovalPending``. One idempotency key is made per call and kept over its retries; pass ``key`` to keep one
        across calls. Also raises ``Denied``, ``ObligationFailed``, ``LimitExceeded``, ``Unavailable``, ``GateError``.
        """
        request = {
            "session": session or current()[1],
            "action": action,
            "resource": asdict(resource),
            "arguments": dict(arguments or {}),
            "reason": reason,
            **({"diagnosis": diagnosis} if diagnosis else {}),
            **({"work": dict(work)} if work else {}),
        }
        self._observer(request, None)
        try:
            sending = Sending("POST", "/v1/actions", body=request, key=key or uuid.uuid4().hex)
            done = _finished(_action((await self.wire.send(sending, patience=patience))[1]))
        except ApprovalPending as pending:
            self._observer(request, pending)
            if wait <= 0:
                raise
            return await self._awaited(request, pending.action_id, wait)
        except GateError as error:
            self._observer(request, error)
            raise
        self._observer(request, done)
        return done

    async def _awaited(self, request: Mapping[str, Json], action_id: str, wait: float) -> Done:
        """Wait for a person's answer to ``request``."""
        try:
            done = await self.actions.get(action_id, wait=wait)
        except GateError as error:
            self._observer(request, error)
            raise
        self._observer(request, done)
        return done

    async def live(self) -> bool:
        """True where the gate's program answers."""
        return (await self.wire.text("/livez"))[0] == httpx.codes.OK

    async def ready(self) -> bool:
        """True only where a verified policy, the log and the key sets are there."""
        return (await self.wire.text("/readyz"))[0] == httpx.codes.OK


class Sessions:
    """``/v1/sessions``."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def open(
        self, intent: Sequence[Intent], *, agent: str = "", incident: str = "", labels: Mapping[str, str] | None = None
    ) -> Session:
        """Open a session. ``agent`` (a party id) hands it to an agent; only a human's token may do that."""
        request: dict[str, Json] = {"intent": [asdict(piece) for piece in intent]}
        request |= {"agent": agent} if agent else {}
        request |= {"incident": incident} if incident else {}
        request |= {"labels": dict(labels)} if labels else {}
        _, body = await self._wire.send(Sending("POST", "/v1/sessions", body=request))
        return Session.model_validate(body)


class Actions:
    """``/v1/actions``: the catalog, and what became of one action."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def catalog(self) -> Json:
        """The actions that the gate knows, as it describes them."""
        return (await self._wire.send(Sending("GET", "/v1/actions")))[1]

    async def get(self, action_id: str, *, wait: float = 0.0) -> Done:
        """The result of an action; waits up to ``wait`` seconds for it, then raises ``ApprovalPending``.

        A review that says no raises ``Denied``.
        """
        clock = asyncio.get_running_loop().time
        until = clock() + wait
        while True:
            left = max(0.0, until - clock())
            hold = min(left, HOLD_SECONDS)
            asked = clock()
            query = {"wait": f"{hold:.0f}"} if hold >= 1 else None
            _, body = await self._wire.send(Sending("GET", f"/v1/actions/{action_id}", query=query, hold=hold))
            answer = _action(body)
            if not isinstance(answer, Waiting) or left <= 1:
                return _finished(answer)
            if clock() - asked < 1:  # the gate did not hold the request: do not spin
                await asyncio.sleep(min(1.0, left))


class Observations:
    """``/v1/observations``."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def get(self, observation_id: str) -> Observation:
        """A stored result of this session, redacted and whole."""
        return Observation.model_validate(
            (await self._wire.send(Sending("GET", f"/v1/observations/{observation_id}")))[1]
        )


class Approvals:
    """``/v1/approvals``: for people; an agent's token is refused."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def list(self) -> Sequence[ApprovalDetail]:
        """The open approvals that this person may see."""
        _, body = await self._wire.send(Sending("GET", "/v1/approvals"))
        return [ApprovalDetail.model_validate(item) for item in _items(body, "approvals")]

    async def show(self, approval_id: str) -> ApprovalDetail:
        """One approval: the request, its plan, and the digest that a review must repeat."""
        return ApprovalDetail.model_validate((await self._wire.send(Sending("GET", f"/v1/approvals/{approval_id}")))[1])

    async def review(
        self, approval_id: str, verdict: str, *, digest: str, reason: str = "", narrow: Mapping[str, Json] | None = None
    ) -> Review:
        """Answer ``approve`` or ``deny`` for exactly the request with ``digest``; ``narrow`` may only shrink it."""
        request: dict[str, Json] = {"verdict": verdict, "digest": digest, "reason": reason}
        request |= {"narrow": dict(narrow)} if narrow else {}
        path = f"/v1/approvals/{approval_id}/reviews"
        _, body = await self._wire.send(Sending("POST", path, body=request, key=uuid.uuid4().hex))
        return Review.model_validate(body or {})


class Policies:
    """``/v1/policies``."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def simulate(self, request: Mapping[str, Json]) -> Json:
        """What the active policy, or a candidate named in ``request``, would decide; nothing is executed."""
        return (await self._wire.send(Sending("POST", "/v1/policies/simulate", body=request)))[1]


class Audit:
    """``/v1/audit``: the log as an auditor reads it."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def entries(self, *, start: int = 0, limit: int = 100) -> Sequence[Entry]:
        """Up to ``limit`` records from sequence number ``start``."""
        query = {"start": str(start), "limit": str(limit)}
        _, body = await self._wire.send(Sending("GET", "/v1/audit/entries", query=query))
        return [Entry.model_validate(item) for item in _items(body, "entries")]

    async def checkpoint(self) -> str:
        """The newest signed checkpoint (a C2SP signed note) as text."""
        _, body = await self._wire.send(Sending("GET", "/v1/audit/checkpoint"))
        return str(body["checkpoint"] if isinstance(body, dict) else body)

    async def proof(self, seq: int) -> Proof:
        """The inclusion proof of record ``seq``."""
        return Proof.model_validate((await self._wire.send(Sending("GET", f"/v1/audit/proof/{seq}")))[1])


_KINDS: Mapping[str, type[Done | Waiting | Planned]] = {"done": Done, "waiting": Waiting, "planned": Planned}


def _action(body: Json) -> Done | Waiting | Planned:
    """An action's answer by its ``status``; anything else is outside the contract."""
    kind = _KINDS.get(str(body.get("status"))) if isinstance(body, dict) else None
    if kind is None:
        problem = Problem(
            status=200,
            code="gate.answer_unreadable",
            detail="the answer has no known status",
            remedy="check that the versions of client and gate fit",
        )
        raise GateError(problem)
    return kind.model_validate(body)


def _finished(answer: Done | Waiting | Planned) -> Done:
    """The result; raises ``ApprovalPending`` or ``OnlyPlanned``."""
    if isinstance(answer, Waiting):
        raise ApprovalPending(answer)
    if isinstance(answer, Planned):
        raise OnlyPlanned(answer)
    return answer


def _items(body: Json, name: str) -> Sequence[Json]:
    """The list in a listing's answer."""
    return list(body.get(name, ())) if isinstance(body, dict) else list(body or ())
