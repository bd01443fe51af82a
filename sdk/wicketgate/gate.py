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
from dataclasses import asdict
from types import TracebackType
from typing import Self

import httpx

from wicketgate.answers import Done, Event, Json, Session
from wicketgate.areas import (
    Actions,
    Agents,
    Approvals,
    Audit,
    Breakglass,
    Incidents,
    Observations,
    Policies,
    Sessions,
    Work,
    read_action,
)
from wicketgate.errors import ApprovalPending, GateError
from wicketgate.events import Following, follow
from wicketgate.tokens import TokenSource
from wicketgate.wire import Sending, Sleep, Wire, is_loopback
from wicketgate.words import Intent, Resource

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
        self.agents = Agents(self.wire)
        self.breakglass = Breakglass(self.wire)
        self.incidents = Incidents(self.wire)
        self.work = Work(self.wire)

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
            done = read_action((await self.wire.send(sending, patience=patience))[1])
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

    def events(  # noqa: PLR0913 - one keyword a filter
        self,
        *,
        kinds: Sequence[str] = (),
        action: str = "",
        effect: str = "",
        session: str = "",
        incident: str = "",
        own: bool = True,
        after: int | None = None,
        patience: float = 300.0,
    ) -> AsyncIterator[Event]:
        """The log as it grows, record by record: what fits every filter that is given.

        ``after`` resumes behind that number; ``own=False`` leaves out looks at the gate itself. It goes on over broken
        connections and expired tokens without loss or repeat, and raises what else ends it (see ``wicketgate.events``).
        """
        given = {"kinds": ",".join(kinds), "action": action, "effect": effect, "session": session, "incident": incident}
        query = {name: value for name, value in given.items() if value} | ({} if own else {"own": "0"})
        return follow(self.wire, Following(query, after), patience=patience)

    async def live(self) -> bool:
        """True where the gate's program answers."""
        return (await self.wire.text("/livez"))[0] == httpx.codes.OK

    async def ready(self) -> bool:
        """True only where a verified policy, the log and the key sets are there."""
        return (await self.wire.text("/readyz"))[0] == httpx.codes.OK
