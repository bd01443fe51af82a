"""A real SPIRE server that mints JWT-SVIDs; built by ``bash .ci/parts.sh drill``."""

import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from demo.wire import free_port
from tests.parts import require
from tests.sim import started

TRUST_DOMAIN = "ops.example"
CONFIGURATION = """
server {{
  bind_address = "127.0.0.1"
  bind_port = "{port}"
  socket_path = "{folder}/api.sock"
  trust_domain = "{trust_domain}"
  data_dir = "{folder}"
  log_level = "WARN"
  ca_ttl = "24h"
  default_jwt_svid_ttl = "5m"
  jwt_issuer = "https://spire.ops.example"
}}
plugins {{
  DataStore "sql" {{ plugin_data {{ database_type = "sqlite3"  connection_string = "{folder}/ds.sqlite3" }} }}
  NodeAttestor "join_token" {{ plugin_data {{}} }}
  KeyManager "memory" {{ plugin_data {{}} }}
}}
health_checks {{
  listener_enabled = true
  bind_address = "127.0.0.1"
  bind_port = "{health}"
  live_path = "/live"
  ready_path = "/ready"
}}
"""


class Spire:
    """One running server."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program, self._folder = program, folder

    def mint(self, path: str, audience: str, *, seconds: int = 300, trust_domain: str = TRUST_DOMAIN) -> str:
        """A JWT-SVID."""
        name = f"spiffe://{trust_domain}{path}"
        return self._said("jwt", "mint", "-spiffeID", name, "-audience", audience, "-ttl", f"{seconds}s").strip()

    def bundle(self) -> str:
        """The trust domain's keys, as SPIFFE writes them."""
        return self._said("bundle", "show", "-format", "spiffe")

    def rotate(self) -> None:
        """A new JWT key, used from now on; the old one stays in the bundle."""
        self._said("localauthority", "jwt", "prepare")
        listed = self._said("localauthority", "jwt", "show", "-output", "json")
        prepared = json.loads(listed)["prepared"]["authority_id"]
        self._said("localauthority", "jwt", "activate", "-authorityID", prepared)

    def _said(self, *words: str) -> str:
        command = [self._program, *words, "-socketPath", f"{self._folder}/api.sock"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextmanager
def running() -> Iterator[Spire]:
    """Start one in a short folder of its own: a socket's address holds about 100 bytes."""
    program = require("spire-server")
    with tempfile.TemporaryDirectory(prefix="wgsp", dir="/tmp") as name:
        folder, health = Path(name), free_port()
        text = CONFIGURATION.format(folder=folder, port=free_port(), health=health, trust_domain=TRUST_DOMAIN)
        (folder / "server.conf").write_text(text)
        with (folder / "out").open("wb") as out:
            process = subprocess.Popen([program, "run", "-config", folder / "server.conf"], stdout=out, stderr=out)
        try:
            ready = f"http://127.0.0.1:{health}/ready"
            started.until(lambda: started.answers(ready), process, (folder / "out").read_text)
            yield Spire(program, folder)
        finally:
            process.kill()
            process.wait()
