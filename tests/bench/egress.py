"""CPU of one upstream exchange: bare aiohttp, the gate's egress, and the httpx API over it. ``python tests/bench/egress.py``."""

import asyncio
import multiprocessing
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import aiohttp

from broker.egress import Egress, UpstreamSettings, httpx_client
from tests.sim.upstream import UpstreamSim, whole

CALLS = 1600
BODY = b'{"a":1}'
HEADERS = {"content-type": "application/json"}


def serve(port: "multiprocessing.Queue[int]") -> None:
    async def main() -> None:
        async with UpstreamSim.fixed(whole(200, {"ok": True})) as sim:
            port.put(sim.port)
            await asyncio.Event().wait()

    asyncio.run(main())


async def measure(name: str, call: Callable[[], Awaitable[object]], concurrency: int) -> None:
    async def worker() -> None:
        for _ in range(CALLS // concurrency):
            await call()

    for _ in range(50):
        await call()
    started = time.process_time()
    await asyncio.gather(*(worker() for _ in range(concurrency)))
    print(f"{name:18} concurrency {concurrency:2}: {(time.process_time() - started) / CALLS * 1e6:5.0f} us CPU a call")


async def main(port: int) -> None:
    url, egress = f"http://127.0.0.1:{port}", Egress()
    upstream = egress.upstream(UpstreamSettings(name="x", base_url=url, allow_networks=("127.0.0.1/32",)))
    client = httpx_client(upstream)
    async with aiohttp.ClientSession() as session:

        async def bare() -> None:
            async with session.post(url + "/v1", headers=HEADERS, data=BODY) as answer:
                await answer.read()

        async def gate() -> None:
            await upstream.request("POST", "/v1", headers=HEADERS, body=BODY)

        async def through_httpx() -> None:
            await client.post("/v1", headers=HEADERS, content=BODY)

        for _ in range(2):
            for concurrency in (1, 16):
                await measure("aiohttp", bare, concurrency)
                await measure("Upstream.request", gate, concurrency)
                await measure("httpx_client", through_httpx, concurrency)
    await egress.aclose()


if __name__ == "__main__":
    ports: "multiprocessing.Queue[int]" = multiprocessing.Queue()
    server = multiprocessing.Process(target=serve, args=(ports,), daemon=True)
    server.start()
    asyncio.run(main(ports.get()))
    server.terminate()
