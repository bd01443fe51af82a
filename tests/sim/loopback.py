"""A simulated HTTP server on a free loopback port, for the length of a block."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from demo.wire import LoopbackServer, Route


@contextmanager
def on_loopback(route: Route) -> Iterator[str]:
    """Answer every request with ``route``; yields the address."""
    server = LoopbackServer(0, route)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
