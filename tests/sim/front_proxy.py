"""The shipped front proxy as a process: deploy/proxy/haproxy.cfg on loopback, in front of whatever listens on a port."""

import contextlib
import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from demo.wire import free_port
from tests.parts import ROOT, require
from tests.sim import started
from tests.sim.certificate import SERVER, Authority

CONFIGURATION = ROOT / "deploy" / "proxy" / "haproxy.cfg"


@dataclass(frozen=True)
class FrontProxy:
    """A running proxy."""

    port: int
    authority: Authority

    def context(self) -> ssl.SSLContext:
        """What trusts its certificate."""
        return ssl.create_default_context(cadata=self.authority.own.pem.decode())


@contextlib.contextmanager
def front_proxy(
    folder: Path, gate_port: int, *, host: str, client_ca: Path | None = None, replaced: dict[str, str] | None = None
) -> Iterator[FrontProxy]:
    """Start it in front of ``127.0.0.1:gate_port``; ``replaced`` shortens times of the file for a test.

    Raises ``AssertionError`` where it does not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    authority = Authority("front")
    issued = authority.issue("front proxy", use=SERVER)
    text = CONFIGURATION.read_text()
    for old, new in (replaced or {}).items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (folder / "haproxy.cfg").write_text(text)
    port = free_port()
    environment = {
        "PROXY_BIND": f"127.0.0.1:{port}",
        "PROXY_CERTIFICATE": str(issued.save(folder / "proxy.pem")),
        "GATE_ADDRESS": f"127.0.0.1:{gate_port}",
        "GATE_HOST": host,
        **({"PROXY_CLIENT_CA": str(client_ca)} if client_ca else {}),
    }
    with (folder / "haproxy.out").open("wb") as out:
        process = subprocess.Popen(
            [require("haproxy"), "-db", "-f", str(folder / "haproxy.cfg")],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    try:
        started.until(lambda: _listens(port), process, (folder / "haproxy.out").read_text)
        yield FrontProxy(port, authority)
    finally:
        process.terminate()
        process.wait(60)


def _listens(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=60):
        return True
