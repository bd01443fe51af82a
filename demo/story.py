"""The run from beginning to end, in the order in which a person sees it."""

import json
import os
import queue
import shutil
import sys
import threading
import time
import webbrowser
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from demo import outcome, tally, tamper
from demo.children import ChildEnded, Children
from demo.faults import choose
from demo.gateconfig import FAR_MODEL, NEAR_MODEL
from demo.layout import Layout
from demo.outcome import Seen
from demo.shop import SERVICES
from demo.stage import Stage
from demo.world import World, wicketgate

Json = Any

FAULT_SECONDS = 180.0
ALERT_SECONDS = 180.0
RESPONSE_SECONDS = 600.0
APPROVAL_SECONDS = 1200.0
RECOVERY_SECONDS = 120.0
NOTICE_SECONDS = 120.0
LIMITS_SECONDS = 300.0
"""Bounds, far beyond what any of it takes: everything is waited for until it is there, however busy the machine is."""
QUIET_SECONDS = 6.0
"""How long nothing may be live before the incident counts as over."""
SCREENS = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
"""One of these is set where a browser has somewhere to open."""
OVER = frozenset({"closed", "escalated", "linked"})


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
        self.world = World(layout, children, seed=options.seed, model=options.model)
        self.strike = choose(options.fault, options.seed)
        self.known: list[dict[str, Json]] = []
        self.asked: set[str] = set()
        """Approvals that a person was asked for."""
        self.open: set[str] = set()
        """Those of them whose answer was not seen yet."""

    def run(self) -> tuple[dict[str, Json], list[str]]:
        """The final object, and what does not hold (nothing, on a good day)."""
        begun = time.monotonic()
        self.build()
        self.stage.line(f"everything is up after {time.monotonic() - begun:.1f} s; nothing listens beyond this machine")
        self.break_something()
        self.respond()
        self.afterwards()
        detail = self.detail()
        for line in outcome.verification(detail):
            self.stage.line(line)
        self.limits()
        self.world.end()
        return self.judge(detail)

    # -- the acts ---------------------------------------------------------------------------------------------------

    def build(self) -> None:
        """Start the shop, the model server, the gate and what watches."""
        self.stage.title(f"A shop of {len(SERVICES)} services, and a gate before it (seed {self.options.seed})")
        self.world.start()
        if left := self.world.clear_desk():
            self.stage.line(f"{left} incidents of earlier runs are closed by the person on call")
        self.stage.line(f"the shop is watched by {self.world.watch()}")
        self.stage.line("the run's own policy lets a target rest shorter: " + ", ".join(self.world.rests))

    def break_something(self) -> None:
        """Let the shop work for a moment, then let the fault happen and wait until the alert of it is an incident."""
        healthy = self.strike.wait_samples
        self.children.until("traffic", lambda: self._good_seconds() >= healthy, seconds=FAULT_SECONDS)
        self.stage.title("Something breaks")
        self.stage.line(f"{self.world.strike(self.strike)} (fault {self.options.fault})")
        token = f"{wicketgate()} token --as agent --url {self.world.gate}"
        command = [sys.executable, "-m", "agents", "worker", "--gate", self.world.gate, "--token-command", token]
        command += ["--model", NEAR_MODEL] if self.options.model else ["--no-model"]
        self.worker = self.children.start("worker", command, environment=self.world.environment, reports=True)
        self.stage.line("a responder waits, with an identity and nothing else")
        self.children.until("the alert", self._alerted, seconds=ALERT_SECONDS)
        for one in self.known:
            trouble = f"{one['title']} ({one['service']}, severity {one['severity']})"
            self.stage.title(f"Alert: {trouble}")
            self.stage.line(f"incident {one['id']}, by measured service levels; nobody is awake")
        self._invite()

    def respond(self) -> None:
        """Show what the responder and the gate do until no incident is live any more."""
        assert self.worker.stdout is not None
        limit = time.monotonic() + (RESPONSE_SECONDS if self.options.yes else APPROVAL_SECONDS)
        quiet_since = 0.0
        looked = 0.0
        for event in self._events(self.worker.stdout):
            now = time.monotonic()
            if event is not None:
                self.stage.event(event)
            if now - looked >= 1.0:
                looked = now
                self._look()
                quiet_since = (quiet_since or now) if all(one["state"] in OVER for one in self.known) else 0.0
            if quiet_since and now - quiet_since >= QUIET_SECONDS:
                return
            if now > limit:
                raise TimeoutError(f"the incident did not end; it is {[one['state'] for one in self.known]}")
        raise ChildEnded(f"the responder ended: {self.children.last_words('worker')}")

    def afterwards(self) -> None:
        """Show whether customers are served again."""
        self.children.end("worker")
        wanted = outcome.EXPECTED[self.options.fault].recovered
        self.stage.title("Afterwards")
        try:
            if wanted:
                self.children.until("recovery", self._recovered, seconds=RECOVERY_SECONDS)
        except TimeoutError:
            self.stage.bad("customers are not served as before")
            return
        if wanted:
            self.stage.good("customers are served again, as measured")
        for one in self.known:
            self.stage.line(f"incident {one['id']} ({one['service']}): {one['state']}")
        called = [str(one["id"]) for one in self.known if one["state"] == "escalated"]
        if called:
            self.children.until("the call for people", lambda: self._told(called), seconds=NOTICE_SECONDS)
        for line in self.world.notices():
            self.stage.notice(line)

    def limits(self) -> None:
        """Let the agent run into every limit, on purpose."""
        self.stage.title("What the same agent is refused")
        words = ["--service", "storefront", *(["--far-model", FAR_MODEL] if self.options.model else [])]
        self._agent("limits", words, seconds=LIMITS_SECONDS)

    def judge(self, detail: Mapping[str, Json]) -> tuple[dict[str, Json], list[str]]:
        """Verify the log, tamper with a copy, verify that, and count."""
        log, key = self.layout.log, self.layout.verifier_key
        self.stage.title("The log")
        verified = self._verify(log, key, "the log")
        with tamper.flipped_copy(log) as (copy, where):
            self.stage.line(f"one byte of a copy is flipped: {where}")
            tampered = not self._verify(copy, key, "the copy")
        seen = Seen(self.layout, self.world.since, self.strike, model=self.options.model)
        figures = seen.figures(detail) | {"verified": verified, "tamper_detected": tampered}
        for line in seen.spent(detail):
            self.stage.line(line)
        return seen.ordered(figures), seen.broken(figures)

    # -- their parts ------------------------------------------------------------------------------------------------

    def detail(self) -> Mapping[str, Json]:
        """The incident that the story is about, as the gate tells it to a person."""
        return self.world.ask(f"/v1/incidents/{self._leading()['id']}", "oncall")

    def _invite(self) -> None:
        """Tell where to watch and as whom, and open it where that is wanted and there is a screen."""
        page = f"{self.world.gate}/console/incidents/{self._leading()['id']}"
        self.stage.line(f"watch it: {page}")
        self.stage.line(f"sign in as `oncall`, or as `security` to approve; the code is {self.world.code}")
        if self.options.browser and (sys.platform in {"darwin", "win32"} or any(map(os.environ.get, SCREENS))):
            webbrowser.open(page)

    def _leading(self) -> Mapping[str, Json]:
        """The incident that the story is about."""
        alone = [one for one in self.known if one["state"] != "linked"] or self.known
        return max(alone, key=lambda one: (one["severity"], -one["opened_at"]))

    def _told(self, incidents: Sequence[str]) -> bool:
        return set(incidents) <= {line["incident"] for line in self.world.notices()}

    def _alerted(self) -> bool:
        self._incidents()
        return bool(self.known)

    def _incidents(self) -> None:
        """What incidents there are in this run, newest last."""
        listed = self.world.ask("/v1/incidents", "oncall")["incidents"]
        new = (one for one in listed if one["opened_at"] >= self.world.began)
        self.known = sorted(new, key=lambda one: int(one["opened_at"]))

    def _look(self) -> None:
        """See how the incidents stand, and answer what waits for a person."""
        before = {one["id"]: one["state"] for one in self.known}
        self._incidents()
        for one in self.known:
            if before.get(one["id"]) != one["state"]:
                self.stage.state(one)
        if any(one["state"] in {"proposed", "awaiting_approval"} for one in self.known):
            for approval in self.world.ask("/v1/approvals", "security")["approvals"]:
                if approval["state"] == "waiting" and approval["id"] not in self.asked:
                    self.asked.add(approval["id"])
                    self.open.add(approval["id"])
                    self._answer(approval)
        for waiting in tuple(self.open):
            self._answered(waiting)

    def _answer(self, approval: Mapping[str, Json]) -> None:
        """Let the agent try to approve it itself, then approve as the security persona, or tell the person how to."""
        target = f"{approval['resource']['type']}:{approval['resource']['id']}@{approval['resource']['env']}"
        self.stage.title(f"A person is asked: {approval['action']} on {target} (tier {approval['tier']})")
        review = ["--service", "storefront", "--review", approval["id"], approval["digest"]]
        self._agent("limits", review, seconds=LIMITS_SECONDS)
        world = self.world
        if not self.options.yes:
            self.stage.line(f"decide in the console, as `security`: {world.gate}/console/inbox/{approval['id']}")
            self.stage.line("or here; whichever comes first counts:")
            typed = "wicketgate" if shutil.which("wicketgate") else os.path.relpath(wicketgate())
            for verb in ("show", "approve"):
                self.stage.command(
                    f"WICKETGATE_DEV_CODE={world.code} {typed} approvals {verb} {approval['id']} --as security --url {world.gate}"
                )
            return
        done = world.command("approvals", "approve", str(approval["id"]), persona="security")
        self._answered(str(approval["id"]))
        if done.returncode != 0 and approval["id"] in self.open:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise ChildEnded(f"approving ended with {done.returncode}: {said[-1] if said else '(nothing)'}")

    def _answered(self, approval: str) -> None:
        """Tell who answered, whoever was first and wherever; nothing while it waits."""
        now = self.world.ask(f"/v1/approvals/{approval}", "security")
        if now["state"] == "waiting":
            return
        self.open.discard(approval)
        given = [f"{one['verdict']} by {one['reviewer']}" for one in now.get("reviews", ())]
        told = self.stage.good if any(one.startswith("approve") for one in given) else self.stage.bad
        told(f"{approval}: {', '.join(given) or now['state']}; the agent is not among them")

    def _agent(self, which: str, words: list[str], *, seconds: float) -> None:
        """Run an agent as a process of its own to its end, and show what it does."""
        token = f"{wicketgate()} token --as agent --url {self.world.gate}"
        command = [sys.executable, "-m", "agents", which, "--gate", self.world.gate, "--token-command", token, *words]
        child = self.children.start(which, command, environment=self.world.environment, reports=True)
        assert child.stdout is not None
        until = time.monotonic() + seconds
        for event in self._events(child.stdout):
            if event is not None:
                self.stage.event(event)
            elif time.monotonic() > until:
                raise TimeoutError(f"{which} did not finish within {seconds:.0f} seconds")
        code = child.wait(timeout=60)
        self.children.end(which)
        if code != 0:
            raise ChildEnded(f"agents {which} ended with {code}: {self.children.last_words(which)}")

    def _verify(self, log: Path, key: Path, what: str) -> bool:
        """Run the verifier as a person would."""
        done = self.world.command("audit", "verify", str(log), "--vkey", str(key))
        said = (done.stdout or done.stderr).strip().splitlines()
        told: Callable[[str], None] = self.stage.good if done.returncode == 0 else self.stage.line
        told(f"{what}: {said[-1] if said else f'exit {done.returncode}'}")
        return done.returncode == 0

    def _events(self, out: IO[bytes]) -> Iterator[Mapping[str, Json] | None]:
        """An agent's events as they come, None where a quarter of a second brought none; ends with the agent.

        Raises ``ChildEnded`` where a process is lost.
        """
        arrived: queue.Queue[bytes | None] = queue.Queue()

        def read() -> None:
            for line in out:
                arrived.put(line)
            arrived.put(None)

        threading.Thread(target=read, daemon=True).start()
        while True:
            try:
                line = arrived.get(timeout=0.25)
            except queue.Empty:
                self.children.check()
                yield None
                continue
            if line is None:
                return
            yield json.loads(line)

    def _good_seconds(self) -> int:
        """Seconds so far in which customers were served without an error."""
        return sum(1 for line in self.world.levels("storefront") if line["requests"] and not line["errors"])

    def _recovered(self) -> bool:
        lines = tally.lines(self.layout.demo / "sli.jsonl")[self.world.since.level_lines :]
        return outcome.recovered(lines)
