"""The run from beginning to end, in the order in which a person sees it."""

import json
import os
import queue
import secrets
import shutil
import subprocess
import sys
import threading
import time
import webbrowser
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from demo import repository, tally, tamper
from demo.children import ChildEnded, Children
from demo.faults import FAULTS
from demo.layout import FAR_MODEL, NEAR_MODEL, Layout, Ports
from demo.plant import plant
from demo.shop import SERVICES
from demo.stage import Stage
from demo.wire import call

Json = Any

START_SECONDS = 60.0
FAULT_SECONDS = 30.0
AGENT_SECONDS = 180.0
APPROVAL_SECONDS = 900.0
HEALTHY_SAMPLES = 2
FAILING_SAMPLES = 2


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    yes: bool
    browser: bool
    fault: str
    seed: int
    model: bool


class Story:
    """One run in one folder."""

    def __init__(self, options: Options, layout: Layout, children: Children, stage: Stage) -> None:
        self.options = options
        self.layout = layout
        self.children = children
        self.stage = stage
        self.ports = Ports()
        self.gate = f"http://localhost:{self.ports.gate}"
        self.code = secrets.token_hex(8)
        self.since = tally.mark(layout.log, layout.demo)
        self.struck = FAULTS[options.fault]
        self.environment = {
            **{name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TMPDIR") if name in os.environ},
            "HOME": str(layout.home),
            "PYTHONUNBUFFERED": "1",
            "NO_PROXY": "localhost,127.0.0.1",
            "WICKETGATE_URL": self.gate,
        }

    def run(self) -> tuple[dict[str, Json], list[str]]:
        """The final object, and what does not hold (nothing, on a good day)."""
        begun = time.monotonic()
        self.build()
        self.stage.line(f"everything is up after {time.monotonic() - begun:.1f} s; nothing listens beyond this machine")
        self.break_something()
        if self.agent():
            self.healed()
        self.children.end("traffic", "supervisor", "model", "gate")
        return self.judge()

    # -- the acts ---------------------------------------------------------------------------------------------------

    def build(self) -> None:
        """Start the shop, the model server and the gate."""
        self.stage.title(f"A shop of {len(SERVICES)} services, and a gate before it (seed {self.options.seed})")
        planted = plant(self.options.seed)
        self.layout.plant(planted)
        repository.make(self.layout.demo / "config", self.ports.shop, planted)
        config = self.layout.configure(self.ports, model=self.options.model)
        self.control = self.layout.secret("supervisor.token")
        own = self.environment
        python = [sys.executable, "-m"]
        supervisor = ["demo.supervisor", "--folder", str(self.layout.demo), "--port", str(self.ports.supervisor)]
        self.children.start("supervisor", [*python, *supervisor], first_line=self.control, environment=own)
        if self.options.model:
            requests = str(self.layout.demo / "model-requests.jsonl")
            model = ["demo.modelserver", "--port", str(self.ports.model), "--requests", requests]
            self.children.start(
                "model", [*python, *model], first_line=self.layout.secret("provider.key"), environment=own
            )
        serve = [
            "serve",
            "--dev",
            "--data",
            str(self.layout.data),
            "--port",
            str(self.ports.gate),
            "--config",
            str(config),
        ]
        coded = {**self.environment, "WICKETGATE_DEV_CODE": self.code}
        self.children.start("gate", [wicketgate(), *serve], environment=coded)
        self.children.until("the start of the shop", self._shop_is_up, seconds=START_SECONDS)
        traffic = [
            "demo.traffic",
            "--url",
            f"http://127.0.0.1:{self.ports.shop['storefront']}",
            "--seed",
            str(self.options.seed),
        ]
        self.children.start("traffic", [*python, *traffic], environment=own)
        self.children.until("the gate's readiness", lambda: _answers(self.gate + "/readyz"), seconds=START_SECONDS)
        if self.options.browser and sys.stdin.isatty() and _answers(self.gate + "/console"):
            webbrowser.open(self.gate + "/console")

    def break_something(self) -> None:
        """Let the shop work for a moment, then switch the fault on and wait until customers feel it."""
        self.children.until("traffic", lambda: self._samples(failing=False) >= HEALTHY_SAMPLES, seconds=FAULT_SECONDS)
        address = f"http://127.0.0.1:{self.ports.shop[self.struck]}/fault"
        call("POST", address, {"name": self.options.fault}, headers={"authorization": f"Bearer {self.control}"})
        self.children.until("the fault", lambda: self._samples(failing=True) >= FAILING_SAMPLES, seconds=FAULT_SECONDS)
        self.stage.title("Something breaks")
        self.stage.line(
            f"customers get errors (fault {self.options.fault}); an agent is called, with an identity and nothing else"
        )

    def agent(self) -> bool:
        """Run the agent as a process of its own and show what it does; True where it says that it restarted something."""
        token = f"{wicketgate()} token --as agent --url {self.gate}"
        command = [sys.executable, "-m", "agents", "first", "--gate", self.gate, "--token-command", token]
        command += [word for service in SERVICES for word in ("--service", service)]
        command += ["--alert", "Customers of the shop get errors at checkout. Find out why."]
        command += ["--model", NEAR_MODEL, "--far-model", FAR_MODEL] if self.options.model else []
        child = self.children.start("agent", command, environment=self.environment, reports=True)
        assert child.stdout is not None
        seconds = AGENT_SECONDS if self.options.yes else APPROVAL_SECONDS
        for event in self._events(child.stdout, seconds):
            self.stage.event(event)
            if event["event"] == "approval":
                self._approve(str(event["id"]))
        code = child.wait(timeout=10)
        self.children.end("agent")
        if code != 0:
            self.stage.bad(f"the agent ended with {code}: {self.children.last_words('agent')}")
        return code == 0

    def healed(self) -> None:
        """Show whether the shop recovered."""
        self.stage.title("Afterwards")
        try:
            self.children.until("recovery", self._is_healthy, seconds=FAULT_SECONDS)
        except TimeoutError:
            self.stage.bad(f"{self.struck} still fails")
        else:
            self.stage.good(f"{self.struck} answers again, in a fresh process; customers get no errors")

    def judge(self) -> tuple[dict[str, Json], list[str]]:
        """Verify the log, tamper with a copy, verify that, and count."""
        log, key = self.layout.log, self.layout.verifier_key
        verified = self._verify(log, key, "the log")
        with tamper.flipped_copy(log) as (copy, where):
            self.stage.line(f"one byte of a copy is flipped: {where}")
            tampered = not self._verify(copy, key, "the copy")
        figures = tally.count(log, self.layout.demo, self.since)
        figures |= {"verified": verified, "tamper_detected": tampered}
        return figures, self._broken_promises(figures)

    # -- their parts ------------------------------------------------------------------------------------------------

    def _approve(self, approval: str) -> None:
        """Approve as the security persona, or tell the person how to."""
        command = [wicketgate(), "approvals", "approve", approval, "--as", "security", "--url", self.gate]
        if not self.options.yes:
            self.stage.line(
                "the agent cannot go on alone. Look at the request, and approve it as somebody else than the agent:"
            )
            typed = "wicketgate" if shutil.which("wicketgate") else os.path.relpath(wicketgate())
            for verb in ("show", "approve"):
                self.stage.command(
                    f"WICKETGATE_DEV_CODE={self.code} {typed} approvals {verb} {approval} --as security --url {self.gate}"
                )
            return
        coded = {**self.environment, "WICKETGATE_DEV_CODE": self.code}
        done = subprocess.run(command, env=coded, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603 - our own program
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise ChildEnded(f"approving ended with {done.returncode}: {said[-1] if said else '(nothing)'}")
        self.stage.good("approved by the security persona, who is not the agent")

    def _verify(self, log: Path, key: Path, what: str) -> bool:
        """Run the verifier as a person would."""
        command = [wicketgate(), "audit", "verify", str(log), "--vkey", str(key)]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False, timeout=120)  # noqa: S603 - our own program
        said = (done.stdout or done.stderr).strip().splitlines()
        (self.stage.good if done.returncode == 0 else self.stage.line)(
            f"{what}: {said[-1] if said else f'exit {done.returncode}'}"
        )
        return done.returncode == 0

    def _broken_promises(self, figures: Mapping[str, Json]) -> list[str]:
        """What does not hold, in words."""
        restarts = tally.restarts(self.layout.demo, self.since)
        leaks = tally.leaks(self.layout.data, self.layout.demo)
        expected = {
            f"at least 4 refusals of different codes: {figures['refused']}": len(
                {one["code"] for one in figures["refused"]}
            )
            >= 4,
            f"exactly 1 approval: {figures['approved']}": figures["approved"] == 1,
            f"exactly 1 executed write: {figures['executed']}": figures["executed"] == 1,
            f"exactly 1 real restart: {restarts}": restarts == 1,
            f"redactions: {figures['redactions']}": figures["redactions"] > 0,
            f"model calls: {figures['model_calls']}": (figures["model_calls"] > 0) == self.options.model,
            "the log verifies": figures["verified"],
            "a flipped byte is found": figures["tamper_detected"],
            f"no planted value in clear: {leaks}": not leaks,
        }
        return [what for what, holds in expected.items() if not holds]

    def _events(self, out: IO[bytes], seconds: float) -> Iterator[Mapping[str, Json]]:
        """The agent's events as they come; raises ``TimeoutError``, and ``ChildEnded`` where a process is lost."""
        arrived: queue.Queue[bytes | None] = queue.Queue()

        def read() -> None:
            for line in out:
                arrived.put(line)
            arrived.put(None)

        threading.Thread(target=read, daemon=True).start()
        until = time.monotonic() + seconds
        while True:
            try:
                line = arrived.get(timeout=0.25)
            except queue.Empty:
                self.children.check()
                if time.monotonic() > until:
                    raise TimeoutError(f"the agent did not finish within {seconds:.0f} seconds") from None
                continue
            if line is None:
                return
            yield json.loads(line)

    def _shop_is_up(self) -> bool:
        """All four services were started and answer."""
        started = tally.lines(self.layout.demo / "processes.jsonl")[self.since.process_lines :]
        return len(started) >= len(SERVICES)

    def _samples(self, *, failing: bool) -> int:
        """Seconds so far in which the struck service had requests, and errors or none."""
        samples = [line for line in self._levels() if line["requests"]]
        return sum(1 for line in samples if (line["errors"] > 0) == failing)

    def _is_healthy(self) -> bool:
        """The last two seconds of the struck service had requests and no errors."""
        return all(line["requests"] and not line["errors"] for line in self._levels()[-2:])

    def _levels(self) -> list[dict[str, Json]]:
        """The struck service's lines of this run."""
        known = tally.lines(self.layout.demo / "sli.jsonl")[self.since.level_lines :]
        return [line for line in known if line["service"] == self.struck]


def wicketgate() -> str:
    """Path of the command ``wicketgate`` beside this Python; raises ``FileNotFoundError``."""
    beside = Path(sys.executable).parent / "wicketgate"
    found = str(beside) if beside.exists() else shutil.which("wicketgate")
    if found is None:
        raise FileNotFoundError(
            "the command `wicketgate` is not installed: run `make demo`, or pip install this project"
        )
    return found


def _answers(url: str) -> bool:
    """True where the address answers 200."""
    try:
        return call("GET", url, seconds=1.0)[0] == 200
    except OSError:
        return False
