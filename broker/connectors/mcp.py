"""A tool server that speaks MCP, behind the gate by configuration and a manifest: no code.

Configuration says where the server is (an address, or a command that is run) and which credential it gets; it never gets
the caller's. The manifest, signed with the bundle, pins each tool that may be called: what is not pinned does not exist
here, and a tool whose definition is not the pinned one any more is quarantined until somebody pins it again. The others
go on. Everything that a tool answers is somebody else's text.
"""

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final

import orjson

from broker.catalog import Action
from broker.clock import Clock
from broker.connectors.base import Drift, EffectStatus
from broker.connectors.http_template import pick, rollback_request
from broker.connectors.mcp_http import HttpStreams, Streams
from broker.connectors.mcp_link import Bounds, Link, Refused, Tools
from broker.connectors.mcp_pins import Pin, Pinned, compile_pin
from broker.connectors.mcp_result import Sizes, shaped
from broker.connectors.mcp_settings import McpSettings
from broker.connectors.mcp_stdio import Program, StdioStreams
from broker.egress import Egress
from broker.errors import BadRequest, BrokerError, Conflict
from broker.model import ActionRequest, Grant, Json, Plan, Resource, Result, ResultStatus

MODES: Final = {"auto": "auto", "2025-11-25": "legacy", "2026-07-28": "2026-07-28"}


class McpConnector:
    """The adapter; one instance a server."""

    def __init__(self, settings: McpSettings, egress: Egress, clock: Clock) -> None:
        """Read the credentials; raises ``BadRequest`` (``config.invalid``, ``config.secret``) naming the field."""
        if bool(settings.base_url) == bool(settings.command):
            raise _unfit(settings.name, "needs either `base_url` or `command`")
        if settings.command and not Path(settings.command[0]).is_absolute():
            raise _unfit(settings.name, "`command` must begin with an absolute path")
        self.name = settings.name
        self._settings = settings
        bounds = Bounds(
            seconds=settings.timeout_seconds,
            concurrency=settings.concurrency,
            tools_max=settings.tools_max,
            fresh_seconds=settings.fresh_seconds,
            again_seconds=settings.again_seconds,
            again_seconds_max=settings.again_seconds_max,
            mode=MODES[settings.protocol],
        )
        open_streams = _child(settings) if settings.command else _remote(settings, egress)
        self._link = Link(settings.name, bounds, open_streams, clock)
        self._sizes = Sizes(settings.parts_max, settings.text_bytes_max)
        self._pinned: dict[str, tuple[Action, Pinned]] = {}

    def start(self) -> None:
        """Connect and read the tools; a server that is not there is tried again."""
        self._link.start()

    def endpoint(self, request: ActionRequest) -> Mapping[str, str]:  # noqa: ARG002 - one server, one place
        """Where the request's data goes."""
        return {"region": self._settings.region, "provider": self.name}

    async def plan(self, request: ActionRequest, action: Action) -> Plan:
        """The exact call. Raises ``Conflict`` for a tool in quarantine: nobody approves what may be another thing."""
        pin = self._compiled(action).pin
        arguments = await asyncio.to_thread(pin.render, request.arguments, request.resource, request.id)
        await self._present(pin)
        unlabelled = await asyncio.to_thread(pin.render, request.arguments, request.resource, "")
        bound = [pin.digest, orjson.dumps(unlabelled, option=orjson.OPT_SORT_KEYS).decode()]
        return Plan(
            summary=f"call {pin.tool} of {self.name}",
            fingerprint=hashlib.sha256("\n".join(bound).encode()).hexdigest(),
            after={"tool": pin.tool, "arguments": arguments, "definition": pin.digest},
            affected=(request.resource.id,),
            rollback=rollback_request(action.rollback, request.arguments, request.resource, None),
        )

    async def execute(self, grant: Grant, action: Action) -> Result:
        """Call the tool once, if it is still the one that was pinned."""
        pin = self._compiled(action).pin
        return await self._call(pin, grant.arguments, grant.request.resource, grant.request.id)

    async def status_of(self, action_id: str, action: Action | None = None) -> EffectStatus:
        """Ask the tool that the manifest's ``status_of`` pins; without one the answer is ``unknown``."""
        probe = self._compiled(action).status_of if action is not None else None
        if probe is None:
            return EffectStatus("unknown", "the manifest names no way to ask")
        try:
            found = await self._call(probe.pin, {}, Resource(type="", id="", env=""), action_id)
        except BrokerError as error:
            return EffectStatus("unknown", f"asking failed: {error.error_code}")
        value = pick((found.value or {}).get("structured"), probe.field)
        if found.status is ResultStatus.ERROR or value is None:
            return EffectStatus("unknown", "the tool's answer does not say")
        word = "done" if value in probe.done else "not_done" if value in probe.not_done else "unknown"
        return EffectStatus(word, "as the server's own tool says")

    def drift(self, actions: Iterable[Action]) -> tuple[Drift, ...]:
        """Of ``actions``, those that cannot be called as they were pinned, by the list that was read last."""
        if not self._link.listed:
            return ()
        found = []
        for action in actions:
            try:
                pin = self._compiled(action).pin
                _same(self.name, pin, self._link.tools)
            except BrokerError as error:
                live = self._link.tools.by_name.get(str(action.transport.get("tool", "")))
                pinned = str(action.transport.get("digest", ""))
                found.append(Drift(self.name, action.name, error.error_code, pinned, live.digest if live else ""))
        return tuple(found)

    @property
    def problem(self) -> str:
        """Why there is no connection, as a code; empty while there is one."""
        return self._link.problem

    async def tools(self) -> Tools:
        """What the server offers now, for pinning. Raises ``UpstreamFailed``."""
        return await self._link.fresh()

    async def aclose(self) -> None:
        """End the connection and the command."""
        await self._link.aclose()

    async def _call(self, pin: Pin, arguments: Mapping[str, Json], resource: Resource, action_id: str) -> Result:
        told = await asyncio.to_thread(pin.render, arguments, resource, action_id)
        await self._present(pin)
        try:
            answer = await self._link.call(pin.tool, told)
        except Refused as refused:
            said = f"the server refused the call with JSON-RPC error {refused.code}"
            return Result(ResultStatus.ERROR, {"code": refused.code}, said)
        if not answer.is_error:
            await asyncio.to_thread(pin.check, answer.structured_content)
        return shaped(answer, self._sizes)

    async def _present(self, pin: Pin) -> None:
        """Compare with what the server says now; nothing was called when this raises."""
        _same(self.name, pin, await self._link.fresh())

    def _compiled(self, action: Action) -> Pinned:
        """Compile once an action; an action of a newer bundle is another object."""
        known = self._pinned.get(action.name)
        if known is None or known[0] is not action:
            known = self._pinned[action.name] = (action, compile_pin(action))
        return known[1]


def _same(name: str, pin: Pin, tools: Tools) -> None:
    """Raise ``Conflict`` where the tool is not the one that was pinned."""
    if pin.tool in tools.twice:
        raise Conflict(
            f"`{name}` offers two tools called `{pin.tool}`",
            code="mcp.tool_twice",
            remedy="ask the server's owner which of the two it is; nothing of that name is called",
        )
    live = tools.by_name.get(pin.tool)
    if live is None:
        raise Conflict(
            f"`{name}` does not offer tool `{pin.tool}` now",
            code="mcp.tool_absent",
            remedy="check the server; `wicketgate policy mcp-pin` shows what it offers now",
        )
    if live.digest != pin.digest:
        raise Conflict(
            f"tool `{pin.tool}` of `{name}` is not what was pinned: it is in quarantine",
            code="mcp.tool_changed",
            remedy="have the security team read what changed (`wicketgate policy mcp-pin`) and pin it again, or not",
        )


def _remote(
    settings: McpSettings, egress: Egress
) -> Callable[[Callable[[], None], Callable[[], None]], AbstractAsyncContextManager[Streams]]:
    upstream, credential = egress.upstream(settings.upstream), settings.credential_headers()

    def streams(changed: Callable[[], None], ended: Callable[[], None]) -> AbstractAsyncContextManager[Streams]:
        seconds = settings.timeout_seconds + 2
        return HttpStreams(upstream, credential, seconds=seconds, changed=changed, ended=ended).streams()

    return streams


def _child(
    settings: McpSettings,
) -> Callable[[Callable[[], None], Callable[[], None]], AbstractAsyncContextManager[Streams]]:
    program = Program(
        command=settings.command,
        folder=settings.folder,
        environment={**settings.environment, **_secrets(settings)},
        memory_bytes_max=settings.memory_bytes_max,
        cpu_seconds_max=settings.cpu_seconds_max,
        files_max=settings.files_max,
        processes_max=settings.processes_max,
    )

    def streams(changed: Callable[[], None], ended: Callable[[], None]) -> AbstractAsyncContextManager[Streams]:
        bytes_max = settings.answer_bytes_max
        return StdioStreams(settings.name, program, bytes_max=bytes_max, changed=changed, ended=ended).streams()

    return streams


def _secrets(settings: McpSettings) -> dict[str, str]:
    """Values of ``secret_environment``; raises ``BadRequest`` (``config.secret``), never with the value."""
    read: dict[str, str] = {}
    for name, file in settings.secret_environment.items():
        try:
            read[name] = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            read[name] = ""
        if not read[name] or "\0" in read[name]:
            raise BadRequest(
                f"`secret_environment.{name}` of connector `{settings.name}` cannot be used",
                code="config.secret",
                remedy="name a file that holds the value as one text",
            )
    return read


def _unfit(name: str, problem: str) -> BadRequest:
    return BadRequest(
        f"connector `{name}`: {problem}", code="config.invalid", remedy="see broker/connectors/README.md, section mcp"
    )
