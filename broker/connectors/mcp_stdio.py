"""MCP over the standard streams of a child: one JSON-RPC message a line, and nothing of the gate's inside the child.

The command comes from configuration as a list, never through a shell. Its environment is what configuration says and
``PATH``, ``LANG`` and ``TZ``; its standard error goes nowhere (it is text of somebody else's); it has its own session and
process group. ``mcp_child.py`` stands between: limits, and no orphans. A line over the cap, or as many bytes without an
answer to a request that is open, ends it. Ending: its input is closed, then SIGTERM to the one between, then SIGKILL to the group.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import anyio
import orjson
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCMessage, JSONRPCNotification, JSONRPCRequest

from broker.connectors.mcp_http import ASKS_MAX, Streams
from broker.connectors.mcp_wire import hear
from broker.errors import BrokerError, UpstreamFailed

BETWEEN: Final = Path(__file__).with_name("mcp_child.py")
PATH: Final = "/usr/local/bin:/usr/bin:/bin"
CLOSE_SECONDS: Final = 2.0
_CHUNK: Final = 65_536


@dataclass(frozen=True, slots=True)
class Program:
    """What is run, and what it may use; 0 is no limit."""

    command: Sequence[str]
    folder: str
    environment: Mapping[str, str] = field(repr=False)
    memory_bytes_max: int
    cpu_seconds_max: int
    files_max: int
    processes_max: int


class StdioStreams:
    """One child and its two pipes, once."""

    def __init__(
        self,
        name: str,
        program: Program,
        *,
        bytes_max: int,
        changed: Callable[[], None],
        ended: Callable[[], None],
    ) -> None:
        """``changed`` is told of a new tool list, ``ended`` that the child speaks no more."""
        self._name, self._program, self._bytes_max = name, program, bytes_max
        self._changed, self._ended = changed, ended
        self._open: set[str] = set()
        """Ids of requests that were sent and neither answered nor called off."""

    @asynccontextmanager
    async def streams(self) -> AsyncIterator[Streams]:
        """Start the child; leaving the context ends it and whatever it started. Raises ``UpstreamFailed``."""
        inbox, heard = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        to_say, said = anyio.create_memory_object_stream[SessionMessage](0)
        child = await self._start()
        try:
            async with inbox, heard, to_say, said, anyio.create_task_group() as group:
                group.start_soon(self._hear_all, child, inbox)
                group.start_soon(self._say_all, child, said)
                try:
                    yield heard, to_say
                finally:
                    group.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await _end(child)

    async def _start(self) -> asyncio.subprocess.Process:
        program = self._program
        limits = (program.memory_bytes_max, program.cpu_seconds_max, program.files_max, program.processes_max)
        try:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(BETWEEN), str(os.getpid()), *map(str, limits)),
                *program.command,
                cwd=program.folder,
                env={"PATH": PATH, "LANG": "C.UTF-8", "TZ": "UTC", **program.environment},
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        except (OSError, ValueError):
            raise UpstreamFailed(
                f"the command of connector `{self._name}` could not be started",
                sent=False,
                code="upstream.unreachable",
                remedy="check `command` and `folder` of the connector",
            ) from None

    async def _hear_all(
        self, child: asyncio.subprocess.Process, inbox: MemoryObjectSendStream[SessionMessage | Exception]
    ) -> None:
        """Line by line until it ends or says too much; then whoever waits learns that nothing more comes."""
        assert child.stdout is not None
        parts, unanswered, asked = list[bytes](), 0, 0
        with suppress(BrokerError, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            while unanswered <= self._bytes_max and asked <= ASKS_MAX and (chunk := await child.stdout.read(_CHUNK)):
                *lines, rest = chunk.split(b"\n")
                unanswered += len(chunk)
                for line in lines:
                    whole = b"".join([*parts, line]).strip()
                    parts = []
                    heard = hear(self._name, whole) if whole else None
                    if heard is None:
                        continue
                    if heard.answer is not None and str(heard.answers) in self._open:
                        self._open.remove(str(heard.answers))
                        unanswered = asked = 0
                        await inbox.send(heard.answer)
                    if heard.tools_changed:
                        self._changed()
                    if heard.reply is not None:
                        asked += 1
                        await _write(child, orjson.dumps(heard.reply))
                parts.append(rest)
        self._ended()
        inbox.close()

    async def _say_all(
        self, child: asyncio.subprocess.Process, said: MemoryObjectReceiveStream[SessionMessage]
    ) -> None:
        with suppress(OSError):
            async for outgoing in said:
                self._note(outgoing.message)
                await _write(child, outgoing.message.model_dump_json(by_alias=True, exclude_unset=True).encode())
        self._ended()

    def _note(self, message: JSONRPCMessage) -> None:
        if isinstance(message, JSONRPCRequest):
            self._open.add(str(message.id))
        elif isinstance(message, JSONRPCNotification) and message.method == "notifications/cancelled":
            self._open.discard(str((message.params or {}).get("requestId")))


async def _write(child: asyncio.subprocess.Process, message: bytes) -> None:
    assert child.stdin is not None
    child.stdin.write(message + b"\n")
    await child.stdin.drain()


async def _end(child: asyncio.subprocess.Process) -> None:
    """Ask by closing its input, then end it and everything below it; nothing of it is left when this returns."""
    if child.stdin is not None:
        child.stdin.close()
    if not await _gone(child):
        with suppress(ProcessLookupError):
            child.send_signal(signal.SIGTERM)
        await _gone(child)
    if child.returncode is None or child.returncode < 0:
        # The one between did not end by itself: what it watched over is still in its group.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        await child.wait()


async def _gone(child: asyncio.subprocess.Process) -> bool:
    """Whether it ended in time. Its output is drained: one that is stuck writing cannot read that it should end."""
    assert child.stdout is not None
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            while await child.stdout.read(_CHUNK):
                pass
            await child.wait()
    except TimeoutError:
        return False
    return True
