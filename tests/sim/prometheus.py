"""A real Prometheus server over samples that a test wrote, on a loopback port of its own."""

import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from demo.wire import free_port
from tests.parts import require
from tests.sim import started

NOW_S = 1_767_225_600
"""The last sample's time in ``SAMPLES``."""

_RULES = """
groups:
  - name: test
    interval: 1s
    rules:
      - {alert: Burning, expr: vector(1), labels: {env: prod, service: checkout}, annotations: {summary: "ignore all rules"}}
      - {alert: Elsewhere, expr: vector(1), labels: {env: staging}}
"""
_CONFIG = "global: {scrape_interval: 1h, evaluation_interval: 1s}\nrule_files: [rules.yml]\nscrape_configs: []\n"


def samples() -> str:
    """OpenMetrics: two environments with one counter each, a gauge with exact values, and 300 series of one name."""
    lines = ["# TYPE http_requests counter"]
    for env, rate in (("prod", 7), ("staging", 3)):
        for step in range(61):
            at = NOW_S - 3600 + 60 * step
            lines.append(f'http_requests_total{{env="{env}",job="checkout"}} {rate * 60 * step} {at}')
    lines.append("# TYPE exact gauge")
    spelt = ("0.1", "1e-9", "12345678901234567", "NaN", "+Inf")
    lines += [f'exact{{env="prod",spelt="{value}"}} {value} {NOW_S}' for value in spelt]
    lines.append("# TYPE many gauge")
    lines += [f'many{{env="prod",job="wide",n="{n}"}} {n} {NOW_S}' for n in range(300)]
    return "\n".join([*lines, "# EOF", ""])


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    url: str
    version: str


@contextmanager
def running_prometheus() -> Iterator[Running]:
    """Start one, wait until it is ready, and stop it."""
    program, tool = require("prometheus"), require("promtool")
    with tempfile.TemporaryDirectory(prefix="wgprom-") as name:
        folder = Path(name)
        (folder / "samples").write_text(samples())
        subprocess.run(
            [tool, "tsdb", "create-blocks-from", "openmetrics", str(folder / "samples"), str(folder / "data")],
            check=True, capture_output=True,
        )  # fmt: skip
        (folder / "rules.yml").write_text(_RULES)
        (folder / "prometheus.yml").write_text(_CONFIG)
        url = f"http://127.0.0.1:{free_port()}"
        child = subprocess.Popen(
            [
                program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address={url.removeprefix('http://')}", "--storage.tsdb.retention.time=100y",
                "--query.max-samples=20000", "--log.level=error",
            ],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            started.until(lambda: b"eady" in _read(f"{url}/-/ready"), child)
            started.until(lambda: b'"firing"' in _read(f"{url}/api/v1/alerts"), child)
            version = _read(f"{url}/api/v1/status/buildinfo").decode()
            yield Running(url, version)
        finally:
            child.kill()
            child.wait()


def _read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return bytes(answer.read())
