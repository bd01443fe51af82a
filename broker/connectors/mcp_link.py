"""The one connection to an MCP server: made, watched, made again with back-off; the tools as the server describes them now.

The client library (``mcp``) negotiates the protocol version and speaks it; the streams under it are ours. A task of its
own holds the connection, because the library's contexts must be left where they were entered. While the connection is
down, every use is refused at once and nothing is sent.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from mcp import Client, MCPError
from mcp_types import (
    CONNECTION_CLOSED,
    REQUEST_TIMEOUT,
    CallToolRequest,
    CallToolRequestParams,
    CallToolResult,
    Implementation,
    InputRequiredResult,
    PaginatedRequestParams,
)
from pydantic import TypeAdapter, ValidationError

from broker.clock import Clock
from broker.connectors.mcp_http import Streams
from broker.connectors.mcp_pins import Definition
from broker.errors import BrokerError, UpstreamFailed

Open = Callable[[Callable[[], None], Callable[[], None]], AbstractAsyncContextManager[Streams]]
"""(changed, ended) -> the streams of a new connection."""
PAGES_MAX: Final = 32
SETTLE_SECONDS: Final = 1.0
"""Between two looks at a list that a server says has changed: one that says so all the time is looked at this often."""
GRACE_SECONDS: Final = 5.0
_ANSWER: Final[TypeAdapter[CallToolResult | InputRequiredResult]] = TypeAdapter(CallToolResult | InputRequiredResult)

for _name in ("mcp", "client"):
    # The library's loggers quote what a server sent. Failures are errors here, in our words.
    logging.getLogger(_name).addHandler(logging.NullHandler())
    logging.getLogger(_name).propagate = False


class Refused(Exception):
    """The server answered with a JSON-RPC error; its own words stay where they came from."""

    def __init__(self, code: int) -> None:
        super().__init__(f"JSON-RPC error {code}")
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Seconds and counts of one connection."""

    seconds: float
    concurrency: int
    tools_max: int
    fresh_seconds: float
    again_seconds: float
    again_seconds_max: float
    mode: str


@dataclass(frozen=True, slots=True)
class Tools:
    """What a server offers: definitions by name. A name that it gives to two tools is in ``twice`` and nowhere else."""

    by_name: Mapping[str, Definition]
    twice: frozenset[str]


class Link:
    """One server. Use it from one event loop."""

    def __init__(self, name: str, bounds: Bounds, open_streams: Open, clock: Clock) -> None:
        self._name, self._bounds, self._open, self._clock = name, bounds, open_streams, clock
        self._task: asyncio.Task[None] | None = None
        self._up: asyncio.Future[Client] | None = None
        self._wake = asyncio.Event()
        self._broken = self._stopping = False
        self._busy = 0
        self._listing = asyncio.Lock()
        self._listed_at = float("-inf")
        self.tools = Tools({}, frozenset())
        """As they were listed last; empty before the first time."""
        self.problem = ""
        """Why there is no connection, as a code; empty while there is one."""
        self.listed = False

    def start(self) -> None:
        """Begin to connect; a second time changes nothing."""
        if self._task is None:
            self._up = asyncio.get_running_loop().create_future()
            self._task = asyncio.create_task(self._hold())

    async def aclose(self) -> None:
        """End the connection and, with it, a child."""
        self._stopping = True
        self._wake.set()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=4 * GRACE_SECONDS)
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def fresh(self) -> Tools:
        """The tools as the server describes them now. Raises ``UpstreamFailed``; nothing was called then."""
        async with self._using() as client, self._listing:
            if self._clock.monotonic() - self._listed_at >= self._bounds.fresh_seconds:
                await self._list(client)
        return self.tools

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> CallToolResult:
        """Call once. Raises ``UpstreamFailed``, and ``Refused`` where the server answered with an error."""
        params = CallToolRequestParams(name=tool, arguments=dict(arguments))
        async with self._using() as client:
            try:
                async with asyncio.timeout(self._bounds.seconds + GRACE_SECONDS):
                    answer = await client.session.send_request(
                        CallToolRequest(params=params), _ANSWER, request_read_timeout_seconds=self._bounds.seconds
                    )
            except (MCPError, TimeoutError, ValidationError) as error:
                raise self._failed(error) from None
        if isinstance(answer, InputRequiredResult):
            raise UpstreamFailed(
                f"`{self._name}` wants to ask our model or our people something, which no server may",
                code="mcp.asked_back",
                remedy="use a tool that takes all it needs as arguments",
            )
        return answer

    @asynccontextmanager
    async def _using(self) -> AsyncIterator[Client]:
        """The open connection and one place on it."""
        if self._busy >= self._bounds.concurrency:
            raise UpstreamFailed(
                f"too many calls wait for `{self._name}`; nothing was sent",
                sent=False,
                code="upstream.busy",
                remedy="try again after Retry-After",
                retry_after=1.0,
            )
        self._busy += 1
        try:
            self.start()
            assert self._up is not None
            try:
                async with asyncio.timeout(self._bounds.seconds + GRACE_SECONDS):
                    client = await asyncio.shield(self._up)
            except TimeoutError:
                raise self._unreachable("has not started yet") from None
            yield client
        finally:
            self._busy -= 1

    async def _hold(self) -> None:
        """Connect, keep, and connect again; the pause grows until a connection has lasted for a while."""
        pause = self._bounds.again_seconds
        while not self._stopping:
            began = self._clock.monotonic()
            self._broken = False
            self._wake.clear()
            try:
                await self._connected()
            except Exception as error:  # noqa: BLE001 - an edge: whatever a server breaks, the next try comes
                self._down(error)
            if self._clock.monotonic() - began > self._bounds.again_seconds_max:
                pause = self._bounds.again_seconds
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stopped()
            pause = min(2 * pause, self._bounds.again_seconds_max)
            self._up = asyncio.get_running_loop().create_future()
        self._down(UpstreamFailed("the gate stops", sent=False, code="upstream.unreachable"))

    async def _stopped(self) -> None:
        while not self._stopping:
            self._wake.clear()
            await self._wake.wait()

    async def _connected(self) -> None:
        """One connection, from its first word to its last."""
        client = Client(
            self._open(self._changed, self._ended),
            mode=self._bounds.mode,
            cache=None,
            client_info=Implementation(name="wicketgate", version="1"),
            read_timeout_seconds=self._bounds.seconds,
        )
        async with client:
            await self._list(client)
            assert self._up is not None
            self.problem = ""
            if not self._up.done():
                self._up.set_result(client)
            while not self._over():
                await self._wake.wait()
                self._wake.clear()
                if not self._over():
                    async with self._listing:
                        await self._list(client)
                    await asyncio.sleep(SETTLE_SECONDS)
            self._down(UpstreamFailed("the connection ended", sent=False, code="upstream.cut"))

    async def _list(self, client: Client) -> None:
        """Read the whole list; one that does not end, or does not come, ends the connection."""
        found: dict[str, Definition] = {}
        twice: set[str] = set()
        cursor: str | None = None
        try:
            async with asyncio.timeout(self._bounds.seconds + GRACE_SECONDS):
                for _ in range(PAGES_MAX):
                    page = await client.session.list_tools(params=PaginatedRequestParams(cursor=cursor))
                    for tool in page.tools:
                        definition = Definition.of(tool.model_dump(by_alias=True, mode="json", exclude_none=True))
                        (twice.add(tool.name) if tool.name in found else found.update({tool.name: definition}))
                    cursor = page.next_cursor
                    if cursor is None or len(found) > self._bounds.tools_max:
                        break
        except (MCPError, TimeoutError, ValidationError) as error:
            self._ended()
            raise self._unlisted(error) from None
        if cursor is not None or len(found) > self._bounds.tools_max:
            self._ended()
            raise UpstreamFailed(
                f"`{self._name}` lists more than {self._bounds.tools_max} tools", sent=False, code="upstream.too_large"
            )
        self.tools = Tools({name: one for name, one in found.items() if name not in twice}, frozenset(twice))
        self._listed_at, self.listed = self._clock.monotonic(), True

    def _over(self) -> bool:
        return self._broken or self._stopping

    def _changed(self) -> None:
        self._listed_at = float("-inf")
        self._wake.set()

    def _ended(self) -> None:
        self._broken = True
        self._wake.set()

    def _down(self, error: BaseException) -> None:
        """Whoever asks from now on is refused at once, until the next try."""
        known = _known(error)
        self.problem = known.error_code if known else "upstream.unreachable"
        if self._up is None or self._up.done():
            self._up = asyncio.get_running_loop().create_future()
        self._up.set_exception(self._unreachable(f"has no connection ({self.problem})", self.problem))
        self._up.exception()

    def _unreachable(self, why: str, code: str = "upstream.unreachable") -> UpstreamFailed:
        return UpstreamFailed(
            f"`{self._name}` {why}; nothing was sent",
            sent=False,
            code=code,
            remedy="check that the MCP server runs, and its address or command; the gate tries again by itself",
            retry_after=self._bounds.again_seconds,
        )

    def _unlisted(self, error: Exception) -> BrokerError:
        """A list that could not be read: no tool was called."""
        found = self._failed(error)
        detail = found.detail if isinstance(found, BrokerError) else "the tools could not be listed"
        code = found.error_code if isinstance(found, BrokerError) else "upstream.status"
        return UpstreamFailed(f"{detail} (no tool was called)", sent=False, code=code)

    def _failed(self, error: Exception) -> Exception:
        """The library's errors as ours."""
        if isinstance(error, ValidationError):
            return UpstreamFailed(
                f"`{self._name}` answered with something that MCP does not know", code="upstream.contract"
            )
        if not isinstance(error, MCPError) or error.code == REQUEST_TIMEOUT:
            return UpstreamFailed(
                f"`{self._name}` did not answer in time; it was told to stop",
                code="upstream.timeout",
                remedy="check the target system; the effect may have happened",
            )
        if isinstance(error.data, BrokerError):
            return error.data
        if error.code == CONNECTION_CLOSED:
            self._ended()
            return UpstreamFailed(f"`{self._name}` ended before its answer", code="upstream.cut")
        said = error.data.get("said") if isinstance(error.data, dict) else None
        return Refused(error.code if said is None else said)


def _known(error: BaseException) -> BrokerError | None:
    """The error of ours in it, however the library wrapped it."""
    if isinstance(error, BrokerError):
        return error
    if isinstance(error, MCPError) and isinstance(error.data, BrokerError):
        return error.data
    below = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return next((found for one in below if (found := _known(one)) is not None), None)
