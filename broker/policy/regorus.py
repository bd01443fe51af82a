"""The embedded engine: regorus in worker processes that can be killed, so that no policy can hold the gate.

Two workers by default: each is the other's warm spare. One evaluation may use ``cpu_seconds`` of the worker's CPU time
(the kernel counts) and ``wall_seconds`` by the clock (the event loop counts); over that its process dies, its caller
gets ``policy.engine_timeout``, requests that stood behind it go to the other worker once (policies are pure), and a
new process takes its place.
"""

import asyncio
import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import cast

import orjson

from broker.errors import BadRequest, PolicyUnavailable
from broker.model import Json
from broker.policy import battery
from broker.policy.bundle import Bundle
from broker.policy.content import ENTRYPOINT, refusal
from broker.policy.engine import (
    ENGINE_DOWN,
    ENGINE_ERROR,
    ENGINE_TIMEOUT,
    NO_RESULT,
    Answer,
    EngineInfo,
    PolicyEngine,
    unavailable,
)

_WORKER = Path(__file__).with_name("worker.py")
_FRAME_BYTES_MAX = 64 * 1024 * 1024
_QUEUE_MAX = 1_024
ENGINE_NAME = "regorus"
ENGINE_VERSION = version("gordon-to-regorus")


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one evaluation may use, how long a bundle may take to load, and how many workers there are."""

    cpu_seconds: float = 0.05
    wall_seconds: float = 1.0
    load_seconds: float = 15.0
    workers: int = 2


@dataclass(frozen=True, slots=True)
class Program:
    """What a worker loads: Rego by path, data, and the rule that is asked."""

    modules: Mapping[str, str]
    data: Mapping[str, Json]
    entrypoint: str = ENTRYPOINT

    def frame(self) -> bytes:
        """The ``L`` frame."""
        modules = list(self.modules.items())
        return b"L" + orjson.dumps({"modules": modules, "data": self.data, "entrypoint": self.entrypoint})


class _BystanderError(Exception):
    """The worker died on another's request; this one was not begun."""


class Worker(asyncio.Protocol):
    """One worker process and the requests in it, oldest first; the oldest is the one that is evaluated."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._waiting: deque[asyncio.Future[bytes]] = deque()
        self._received = bytearray()
        self._timer: asyncio.TimerHandle | None = None
        self._overdue = False
        self._transport: asyncio.Transport | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self.on_lost: Callable[[], None] | None = None
        """Called before anybody learns of the death, so that nobody asks this worker again."""

    @classmethod
    async def start(cls, bounds: Bounds) -> "Worker":
        """Start a process with an empty environment and one inherited descriptor."""
        worker = cls(bounds)
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-I", "-B", str(_WORKER), str(theirs.fileno()), str(bounds.cpu_seconds)]
            worker._process = subprocess.Popen(  # noqa: S603, ASYNC220 - our own file; a start takes milliseconds
                command,
                pass_fds=[theirs.fileno()],
                env={"RUST_BACKTRACE": "0"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
            )
        ours.setblocking(False)
        try:
            await worker._loop.create_connection(lambda: worker, sock=ours)
        except BaseException:
            worker.kill()
            worker._process.wait()
            ours.close()
            raise
        return worker

    @property
    def queued(self) -> int:
        """Requests not yet answered."""
        return len(self._waiting)

    async def ask(self, frame: bytes, wall_seconds: float | None = None) -> bytes:
        """Send one frame; the payload of ``+``. Raises ``PolicyUnavailable`` or ``_BystanderError``."""
        if self._transport is None or self.closed.done():
            raise _BystanderError
        future: asyncio.Future[bytes] = self._loop.create_future()
        self._waiting.append(future)
        self._transport.write(struct.pack("<I", len(frame)) + frame)
        if len(self._waiting) == 1:
            self._arm(wall_seconds)
        answer = await future
        word, payload = answer[:1], answer[1:]
        if word == b"+":
            return payload
        if word == b"0":
            raise unavailable(NO_RESULT, "the policy gave no result for this input", retry_after=None)
        if frame[:1] in {b"L", b"A"}:
            raise refusal(f"regorus does not load it: {_first_line(payload)}", "mend the policy; see `policy check`")
        raise unavailable(ENGINE_ERROR, f"the policy failed with {payload.decode()}", retry_after=None)

    def kill(self) -> None:
        """End the process now; ``connection_lost`` follows."""
        if self._process is not None:
            self._process.kill()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way to the process."""
        # uvloop's transports share asyncio's interface, not its class.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Cut frames and hand each to the oldest request."""
        self._received += data
        while len(self._received) >= 4:
            (length,) = struct.unpack_from("<I", self._received)
            if length > _FRAME_BYTES_MAX:
                self.kill()
                return
            if len(self._received) < 4 + length:
                return
            answer = bytes(self._received[4 : 4 + length])
            del self._received[: 4 + length]
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(answer)
            self._arm(None)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name
        """Fail the oldest request with the reason, release the others, and reap the process."""
        if self._timer:
            self._timer.cancel()
        self.kill()
        status = self._process.wait() if self._process else 0
        if self.on_lost:
            self.on_lost()
        timed_out = self._overdue or status == -signal.SIGPROF
        code, text = (ENGINE_TIMEOUT, "the policy took too long") if timed_out else (ENGINE_DOWN, "the engine died")
        for position, future in enumerate(self._waiting):
            if not future.done():
                future.set_exception(_BystanderError() if position else unavailable(code, text))
        self._waiting.clear()
        if not self.closed.done():
            self.closed.set_result(None)

    def _arm(self, wall_seconds: float | None) -> None:
        """Restart the clock for the request that is now the oldest."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if self._waiting:
            self._timer = self._loop.call_later(wall_seconds or self._bounds.wall_seconds, self._expire)

    def _expire(self) -> None:
        self._overdue = True
        self.kill()


def _first_line(payload: bytes) -> str:
    """The part of regorus' message that says what is wrong, with its place."""
    lines = [line.strip() for line in payload.decode(errors="replace").splitlines() if line.strip()]
    place = next((line.removeprefix("-->").strip() for line in lines if line.startswith("-->")), "")
    fault = next((line for line in lines if line.startswith("error:")), lines[0] if lines else "")
    return f"{place} {fault}".strip()[:400]


class RegorusEngine:
    """One program on a few workers."""

    def __init__(self, program: Program, info: EngineInfo, bounds: Bounds) -> None:
        """Use ``start``."""
        self.info = info
        self._frame = program.frame()
        self._bounds = bounds
        self._workers: list[Worker] = []
        self._ready = asyncio.Event()
        self._respawns: set[asyncio.Task[None]] = set()
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._closing = False
        self.on_lost: Callable[[], None] = lambda: None

    @classmethod
    async def start(cls, program: Program, info: EngineInfo, bounds: Bounds) -> "RegorusEngine":
        """Start all workers and load ``program``; raises ``BadRequest`` where regorus refuses it."""
        engine = cls(program, info, bounds)
        # All ends are awaited, so that no process outlives a program that does not load.
        try:
            ends = await asyncio.gather(*(engine._spawn() for _ in range(bounds.workers)), return_exceptions=True)
        except asyncio.CancelledError:
            await engine.aclose()
            raise
        fault = next((end for end in ends if end is not None), None)
        if fault:
            await engine.aclose()
            raise fault
        return engine

    async def decide(self, input_json: bytes) -> Answer:
        """Evaluate on the least busy worker; raises ``PolicyUnavailable``."""
        return Answer(await self._ask(b"D" + input_json), self.info.revision)

    async def trace(self, question: bytes) -> bytes:
        """Evaluate each rule of ``{"input": JSON text, "rules": [path…]}``; the defined values by rule."""
        return await self._ask(b"T" + question)

    async def aclose(self) -> None:
        """Finish what is in flight (at most one evaluation's bound), then end the workers."""
        self._closing = True
        if self._in_flight:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), 2 * self._bounds.wall_seconds)
        for task in self._respawns:
            task.cancel()
        await asyncio.gather(*self._respawns, return_exceptions=True)
        workers = list(self._workers)
        for worker in workers:
            worker.kill()
        for worker in workers:
            await worker.closed

    async def _ask(self, frame: bytes) -> bytes:
        """Ask one worker, and another once if the first died on somebody else's request."""
        self._in_flight += 1
        self._idle.clear()
        try:
            for _ in range(2):
                worker = await self._pick()
                try:
                    return await worker.ask(frame)
                except _BystanderError:
                    continue
            raise unavailable(ENGINE_DOWN, "the policy engine was restarted twice under this request")
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()

    async def _pick(self) -> Worker:
        """The least busy worker; waits for a new one when all have died."""
        if not self._workers and not self._closing:
            try:
                await asyncio.wait_for(self._ready.wait(), self._bounds.wall_seconds)
            except TimeoutError:
                raise unavailable(ENGINE_DOWN, "no policy worker is alive") from None
        if not self._workers:
            raise unavailable(ENGINE_DOWN, "no policy worker is alive")
        worker = min(self._workers, key=lambda each: each.queued)
        if worker.queued >= _QUEUE_MAX:
            raise unavailable(ENGINE_DOWN, "too many requests wait for a policy decision")
        return worker

    async def _spawn(self) -> None:
        """One more loaded worker; when it dies, another follows."""
        worker = await Worker.start(self._bounds)
        try:
            await worker.ask(self._frame, self._bounds.load_seconds)
        except BaseException:
            worker.kill()
            await asyncio.shield(worker.closed)
            raise
        worker.on_lost = lambda: self._lost(worker)
        self._workers.append(worker)
        self._ready.set()

    def _lost(self, worker: Worker) -> None:
        self._workers.remove(worker)
        if not self._workers:
            self._ready.clear()
        if not self._closing:
            self.on_lost()
            task = asyncio.get_running_loop().create_task(self._respawn())
            self._respawns.add(task)
            task.add_done_callback(self._respawns.discard)

    async def _respawn(self) -> None:
        """Start a worker again; a host that cannot start processes right now is asked again, ever more slowly."""
        pause = 0.05
        while not self._closing:
            try:
                await self._spawn()
            except (OSError, PolicyUnavailable, BadRequest, _BystanderError):
                await asyncio.sleep(pause)
                pause = min(pause * 2, 5.0)
            else:
                return


class RegorusHost:
    """Makes an engine for each bundle; probes the evaluator once before its first bundle."""

    def __init__(self, bounds: Bounds | None = None) -> None:
        self._bounds = bounds or Bounds()
        self._probed = False
        self.workers_lost = 0

    async def load(self, bundle: Bundle) -> PolicyEngine:
        """Return a fresh engine for ``bundle``; raises ``BadRequest`` where regorus refuses it."""
        return await self.start(bundle)

    async def start(self, bundle: Bundle) -> RegorusEngine:
        """As ``load``, with the embedded engine's own type."""
        if not self._probed:
            await _probe(self._bounds)
            self._probed = True
        info = EngineInfo(ENGINE_NAME, ENGINE_VERSION, bundle.revision, bundle.digest)
        content = bundle.content
        engine = await RegorusEngine.start(Program(content.modules, content.data), info, self._bounds)
        engine.on_lost = self._lost
        return engine

    def _lost(self) -> None:
        self.workers_lost += 1

    async def withdraw(self, bundle: Bundle) -> None:
        """Nothing to undo: the refused engine was never asked by anybody else."""

    def settled(self, bundle: Bundle) -> None:
        """Nothing to do: each bundle has its own engine."""

    async def aclose(self) -> None:
        """Engines are closed by their owner."""


async def _probe(bounds: Bounds) -> None:
    """Start the evaluator on the battery alone; raises ``BadRequest`` (``policy.engine_unfit``)."""
    program = Program({battery.PACKAGE_FILE: battery.MODULE}, battery.DATA, battery.ENTRYPOINT)
    engine = await RegorusEngine.start(
        program, EngineInfo(ENGINE_NAME, ENGINE_VERSION, "", ""), replace(bounds, workers=1)
    )
    try:
        await battery.probe(engine.decide)
    finally:
        await engine.aclose()


async def syntax_trees(modules: Sequence[tuple[str, str]]) -> list[dict[str, Json]]:
    """Parse each ``(path, text)`` in a worker of its own: ``{"tree"}`` or ``{"error"}`` each, in order."""
    bounds = Bounds(workers=1)
    worker = await Worker.start(bounds)
    try:
        found: list[dict[str, Json]] = orjson.loads(await worker.ask(b"A" + orjson.dumps(modules), bounds.load_seconds))
    finally:
        worker.kill()
        await worker.closed
    return found


if os.name != "posix":  # the worker's bounds are POSIX timers and limits
    raise ImportError("the embedded policy engine needs a POSIX system; use OPA")
