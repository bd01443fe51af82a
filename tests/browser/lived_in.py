"""A gate with a day's work in it, in a thread beside the browser: a seeded clock, real processes, real sockets.

The world answers to ``http://localhost:8480``; the browser that is started with ``arguments`` finds it there, whatever
the real port is. What the browser's thread wants of the world it hands over with ``run``.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tests.sim.served import served
from tests.sim.world import URL, World, world

T = TypeVar("T")
WAIT_SECONDS = 120.0


class Wire:
    """The connections between the browser and the server; ``cut`` breaks all that stand, as a proxy's restart does."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._ends: set[asyncio.StreamWriter] = set()
        self._streams: set[asyncio.StreamWriter] = set()
        self._dead: set[asyncio.StreamWriter] = set()
        self._left = -1
        self.down = False
        """Whether every new connection ends at once."""

    async def open(self) -> asyncio.Server:
        """Listen on a free port."""
        return await asyncio.start_server(self._join, "127.0.0.1", 0)

    async def cut(self) -> int:
        """Abort every connection; how many there were."""
        ends, self._ends = self._ends, set()
        for one in ends:
            one.transport.abort()
        return len(ends) // 2

    async def cut_after(self, count: int) -> None:
        """Cut when the server has said ``count`` bytes more: in the middle of what it says then."""
        self._left = count

    async def silence(self) -> int:
        """Let every stream that stands die without a word, as behind a network that is gone; how many there were."""
        self._dead |= self._streams
        return len(self._streams)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.down:
            writer.transport.abort()
            return
        there, back = await asyncio.open_connection("127.0.0.1", self._to)
        self._ends |= {writer, back}
        await asyncio.gather(self._pump(reader, back), self._pump(there, writer, counted=True))
        self._ends -= {writer, back}

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, counted: bool = False) -> None:
        with suppress(OSError):
            while piece := await source.read(65_536):
                if b"text/event-stream" in piece:
                    self._streams.add(sink)
                if sink in self._dead:
                    continue
                last = counted and 0 <= self._left <= len(piece)
                sink.write(piece[: self._left] if last else piece)
                await sink.drain()
                if last:
                    self._left = -1
                    await self.cut()
                elif counted and self._left >= 0:
                    self._left -= len(piece)
        self._streams.discard(sink)
        sink.close()


@dataclass
class LivedIn:
    """The world, its loop and the port of its server."""

    it: World
    loop: asyncio.AbstractEventLoop
    port: int
    wire: Wire
    url: str = URL
    kept: dict[str, Any] = field(default_factory=dict)
    """What the scenes left for the tests: ids by name."""

    @property
    def arguments(self) -> tuple[str, ...]:
        """Arguments of a Chromium that finds this world."""
        return (f"--host-resolver-rules=MAP localhost:8480 127.0.0.1:{self.port}",)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run it in the world's loop, and wait."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(WAIT_SECONDS)

    def later(self, seconds: float = 2) -> None:
        """Time goes by in the world."""

        async def pass_by() -> None:
            self.it.clock.advance(seconds)

        self.run(pass_by())


@contextmanager
def lived_in(
    folder: Path,
    scene: Callable[[World], Coroutine[Any, Any, dict[str, Any]]],
    extra: str = "",
    *,
    wait: float = WAIT_SECONDS,
    store_url: str = "",
) -> Iterator[LivedIn]:
    """A world in which ``scene`` has been played within ``wait`` seconds, until the block ends."""
    ready: list[LivedIn] = []
    started, stop = threading.Event(), asyncio.Event()
    failed: list[BaseException] = []

    async def main() -> None:
        async with world(folder, extra=extra, store_url=store_url) as it:
            kept = await scene(it)
            async with served(it.app) as port:
                wire = Wire(port)
                listener = await wire.open()
                outside = int(listener.sockets[0].getsockname()[1])
                ready.append(LivedIn(it, asyncio.get_running_loop(), outside, wire, kept=kept))
                started.set()
                await stop.wait()
                await wire.cut()
                listener.close()

    def body() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:  # noqa: BLE001 - told in the test's own thread
            failed.append(error)
        finally:
            started.set()

    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    assert started.wait(wait), "the world did not start in time"
    try:
        if failed:
            raise failed[0]
        yield ready[0]
    finally:
        if ready:
            ready[0].loop.call_soon_threadsafe(stop.set)
        thread.join(WAIT_SECONDS)
