"""A person who wants in: ``python -m tests.drill.control PORT SECONDS`` asks for the approvals, again and again.

The bearer token comes on standard input; the milliseconds of each answer go out as JSON. A process of its own, so that the
clients who flood the gate do not hold it up.
"""

import asyncio
import json
import sys
import time

from tests.bench.client import connect

PAUSE_SECONDS = 0.05


async def asked(port: int, seconds: float, token: str) -> list[float]:
    """Milliseconds of each answer."""
    request = f"GET /v1/approvals HTTP/1.1\r\nhost: localhost:{port}\r\nauthorization: Bearer {token}\r\n\r\n".encode()
    connection, took = await connect(port), []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.perf_counter()
        status = await connection.ask(request)
        took.append((time.perf_counter() - began) * 1000)
        assert status == 200, connection.body.decode()
        await asyncio.sleep(PAUSE_SECONDS)
    return took


if __name__ == "__main__":
    print(json.dumps(asyncio.run(asked(int(sys.argv[1]), float(sys.argv[2]), sys.stdin.readline().strip()))))
