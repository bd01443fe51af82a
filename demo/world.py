"""Everything that runs: the shop, what it depends on, what watches it, the model server, the gate."""

import base64
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from demo import alerts, gateconfig, policy, repository, stock, tally, warm
from demo.children import ChildEnded, Children
from demo.faults import Strike
from demo.layout import Layout, Ports
from demo.plant import plant
from demo.shop import CARD_NETWORK, SERVICES
from demo.tally import NOTICES
from demo.wire import call

Json = Any
START_SECONDS = 240.0
TOKEN_SECONDS = 240.0
"""How often the alerts' sender gets a fresh token; tokens live ten minutes."""
PASSED_ON = ("PATH", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH")


class World:
    """The processes of one run."""

    def __init__(self, layout: Layout, children: Children, *, seed: int, model: bool) -> None:
        """``seed`` decides customers, secrets, orders and stock; without ``model`` no model server runs."""
        self.layout = layout
        self.children = children
        self.seed = seed
        self.model = model
        self.ports = Ports()
        self.gate = f"http://localhost:{self.ports.gate}"
        self.code = secrets.token_hex(8)
        self.programs = alerts.found()
        self.since = tally.mark(layout.log, layout.demo)
        self.environment = {
            **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
            "HOME": str(layout.home),
            "PYTHONUNBUFFERED": "1",
            "NO_PROXY": "localhost,127.0.0.1",
            "WICKETGATE_URL": self.gate,
        }
        self._done = threading.Event()
        self._tokens: dict[str, tuple[float, str]] = {}
        self.began = 0
        self.rests: list[str] = []
        """What differs in the run's policy, in words."""

    # -- start and end ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start everything but the agents; returns when the gate is ready and the shop has customers."""
        self.began = int(time.time())
        layout = self.layout
        planted = plant(self.seed)
        layout.plant(planted)
        layout.register(self.ports)
        repository.make(layout.configuration, planted)
        stock.create(layout.database / stock.FILE, self.seed)
        self.control = layout.secret("supervisor.token")
        self._python("cardnet", "--port", self.ports.shop[CARD_NETWORK], first_line=self.control)
        self._python("supervisor", "--folder", layout.demo, "--port", self.ports.supervisor, first_line=self.control)
        if self.model:
            requests = layout.demo / "model-requests.jsonl"
            key = layout.secret("provider.key")
            self._python("modelserver", "--port", self.ports.model, "--requests", requests, first_line=key)
        secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
        layout.private("pager.secret", secret)
        self._python("pager", "--port", self.ports.pager, "--notices", layout.demo / NOTICES, first_line=secret)
        self.rests = policy.write(layout.demo / "policies")
        config = gateconfig.write(layout, self.ports, model=self.model, prometheus=self.programs is not None)
        serve = ["serve", "--dev", "--data", str(layout.data), "--port", str(self.ports.gate), "--config", str(config)]
        serve += ["--policies", str(layout.demo / "policies")]
        coded = {**self.environment, "WICKETGATE_DEV_CODE": self.code}
        self.children.start("gate", [wicketgate(), *serve], environment=coded)
        self.children.until("the start of the shop", self._shop_is_up, seconds=START_SECONDS)
        storefront = self.ports.addresses()["storefront"]
        self._python("traffic", "--url", storefront, "--seed", self.seed)
        self.children.until("the gate's readiness", lambda: answers(self.gate + "/readyz"), seconds=START_SECONDS)

    def watch(self) -> str:
        """Start what fires the alerts; what it is, in words."""
        token = self._alerts_token()
        threading.Thread(target=self._refresh, daemon=True).start()
        services = {name: address for name, address in self.ports.addresses().items() if name in SERVICES}
        if self.programs is None:
            hook = f"{self.gate}/v1/webhooks/alertmanager"
            addresses = self.layout.demo / "watched.json"
            addresses.write_text(tally.dumped(services), encoding="utf-8")
            self._python("watcher", "--addresses", addresses, "--to", hook, "--token", token)
            return "a watcher that sends Alertmanager's webhook (Prometheus is not installed)"
        folder = self.layout.demo / "alerting"
        shutil.rmtree(folder, ignore_errors=True)
        alerts.configure(folder, services, gate=self.gate, token=token, alertmanager=self.ports.alertmanager)
        ports = {"prometheus": self.ports.prometheus, "alertmanager": self.ports.alertmanager}
        for name, command in alerts.commands(self.programs, folder, **ports).items():
            self.children.start(name, command, environment=self.environment)
        for name, port in ports.items():
            ready = partial(answers, f"http://127.0.0.1:{port}/-/ready")
            self.children.until(f"the start of {name}", ready, seconds=START_SECONDS)
        return "a real Prometheus and a real Alertmanager"

    def end(self) -> None:
        """End everything that this started, agents included."""
        self._done.set()
        self.children.end()

    # -- what happens to it -----------------------------------------------------------------------------------------

    def strike(self, strike: Strike) -> str:
        """Let the fault happen; what was done, in words."""
        does = {
            "bad-config": self._commit,
            "crash-loop": self._spoil_cache,
            "dependency-down": self._stop_network,
            "slow-query": self._drop_index,
        }
        return does.get(strike.fault, self._inside)(strike)

    def command(self, *words: str, persona: str = "") -> subprocess.CompletedProcess[str]:
        """Run ``wicketgate`` as a person would; ``persona`` signs in with the development code."""
        chosen = ["--as", persona] if persona else []
        coded = {**self.environment, **({"WICKETGATE_DEV_CODE": self.code} if persona else {})}
        return subprocess.run(  # noqa: S603 - our own program
            [wicketgate(), *words, *chosen], env=coded, capture_output=True, text=True, check=False, timeout=120
        )

    def clear_desk(self) -> int:
        """Close what earlier runs in this folder left with people, as the person on call; how many there were."""
        left = [
            one for one in self.ask("/v1/incidents", "oncall")["incidents"] if one["state"] not in {"closed", "linked"}
        ]
        for one in left:
            steps = ("close",) if one["state"] == "escalated" else ("take_over", "close")
            for kind in steps:
                said = {"kind": kind, "text": "left by an earlier run"}
                self.ask(f"/v1/incidents/{one['id']}/events", "oncall", said)
        return len(left)

    def ask(self, path: str, persona: str, body: Mapping[str, Json] | None = None) -> dict[str, Json]:
        """What the gate's API answers to a person; raises ``ChildEnded`` where it refuses."""
        got_at, token = self._tokens.get(persona, (-TOKEN_SECONDS, ""))
        if time.monotonic() - got_at > TOKEN_SECONDS:
            done = self.command("token", persona=persona)
            if done.returncode != 0:
                raise ChildEnded(f"no token for {persona}: {done.stderr.strip()}")
            token = done.stdout.strip()
            self._tokens[persona] = (time.monotonic(), token)
        method = "GET" if body is None else "POST"
        headers = {"authorization": f"Bearer {token}"}
        if body is not None:
            headers["idempotency-key"] = secrets.token_hex(12)
        status, answer = call(method, self.gate + path, body, headers=headers, seconds=60.0)
        if not 200 <= status < 300:
            raise ChildEnded(f"the gate answered {status} to {path}: {answer[:300]!r}")
        return dict(json.loads(answer))

    def levels(self, service: str) -> list[dict[str, Json]]:
        """The lines of this run in ``sli.jsonl`` for one service."""
        known = tally.lines(self.layout.demo / "sli.jsonl")[self.since.level_lines :]
        return [line for line in known if line["service"] == service]

    def notices(self) -> list[dict[str, Json]]:
        """What the pager was told in this run, signature verified."""
        known = tally.lines(self.layout.demo / NOTICES)[self.since.notice_lines :]
        return [line for line in known if line["verified"]]

    # -- their parts ------------------------------------------------------------------------------------------------

    def _python(self, name: str, *words: object, first_line: str = "") -> None:
        command: Sequence[str] = [sys.executable, "-m", f"demo.{name}", *map(str, words)]
        self.children.start(name, command, environment=self.environment, first_line=first_line)

    def _commit(self, strike: Strike) -> str:
        assert strike.change is not None
        commit = repository.apply(self.layout.configuration, strike.change)
        return f"{strike.change.author.name} commits {commit[:12]} ({strike.change.message}); it is deployed"

    def _spoil_cache(self, strike: Strike) -> str:
        left = warm.damage(self.layout.demo / "cache" / strike.component, strike.values["share"])
        os.kill(self._pid(strike.component), signal.SIGKILL)
        return f"{strike.component} is killed while it writes its cache; {left} bytes of that are left"

    def _stop_network(self, strike: Strike) -> str:
        manner = strike.values["manner"]
        if manner == "refused":
            self.children.end("cardnet")
            return "the card network, outside, refuses connections"
        self._fault(CARD_NETWORK, {"name": manner})
        return (
            f"the card network, outside, {'answers with errors' if manner == 'errors' else 'does not answer in time'}"
        )

    def _drop_index(self, _: Strike) -> str:
        stock.drop_index(self.layout.database / stock.FILE)
        return "a migration of the inventory's database drops an index"

    def _inside(self, strike: Strike) -> str:
        """A fault that the service itself is told of."""
        self._fault(strike.component, {"name": strike.fault, **strike.values})
        return {
            "noisy-alert": f"an import floods a queue of {strike.component} with {strike.values.get('jobs')} jobs, twice",
            "healthy": f"the metrics of {strike.component} cannot be read any more",
        }.get(strike.fault, f"the memory of {strike.component} goes bad")

    def _fault(self, service: str, wish: Mapping[str, Json]) -> None:
        address = self.ports.addresses()[service] + "/fault"
        call("POST", address, dict(wish), headers={"authorization": f"Bearer {self.control}"})

    def _pid(self, service: str) -> int:
        """The process that runs now, by the file that the supervisor writes."""
        known = tally.lines(self.layout.demo / "processes.jsonl")[self.since.process_lines :]
        return int(next(line["pid"] for line in reversed(known) if line["service"] == service))

    def _shop_is_up(self) -> bool:
        """All four services were started and answer."""
        started = tally.lines(self.layout.demo / "processes.jsonl")[self.since.process_lines :]
        return len(started) >= len(SERVICES)

    def _alerts_token(self) -> Path:
        """A fresh token of the alerts' sender, in a file."""
        done = self.command("token", "--as", "alerts", "--data", str(self.layout.data))
        if done.returncode != 0:
            raise ChildEnded(f"no token for the sender of alerts: {done.stderr.strip()}")
        return self.layout.private("alerts.token", done.stdout.strip())

    def _refresh(self) -> None:
        while not self._done.wait(TOKEN_SECONDS):
            self._alerts_token()


def wicketgate() -> str:
    """Path of the command ``wicketgate`` beside this Python; raises ``FileNotFoundError``."""
    beside = Path(sys.executable).parent / "wicketgate"
    found = str(beside) if beside.exists() else shutil.which("wicketgate")
    if found is None:
        raise FileNotFoundError(
            "the command `wicketgate` is not installed: run `make demo`, or pip install this project"
        )
    return found


def answers(url: str) -> bool:
    """True where the address answers 200."""
    try:
        return call("GET", url, seconds=1.0)[0] == 200
    except OSError:
        return False
