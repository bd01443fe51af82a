"""Everybody at once about one approval, by every door: whatever the order, it runs once, and as if one came after the other.

A seed makes a race: who answers, uses and looks, by which door (HTTP, the console, MCP) of which replica, after how many turns
of the loop; in some the time runs out, a person stops the connector, or another policy comes into force. The gate's own
background takes up what was approved, too. Whole gates in one process: two on one PostgreSQL, or the one that SQLite serves.

What was asked and answered, and when, is a history; ``race_model.py`` is what is promised of one approval, and
``linearizable.py`` says whether the history keeps it. The log is judged beside it: of an action that was carried out one
intent, after a yes, and no denial.
"""

import asyncio
import contextlib
import itertools
import random
import re
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from broker.errors import Unavailable
from broker.policy import keys as policy_keys
from broker.policy.bundle import build_bundle
from tests.bench.gates import PROJECTS, WRITE, gate_toml, larger_limits
from tests.drill.linearizable import Call, order_of
from tests.drill.machine import summary
from tests.drill.race_model import Approval, Said, is_known, step
from tests.parts import fresh_database
from tests.sim.mcp_client import Mcp
from tests.sim.upstream import Seen, UpstreamSim, whole
from tests.sim.visitor import Visitor, signed_in
from tests.sim.world import World, replica, world

PEOPLE = ("oncall", "security")
EXPIRES_S = 30
FRESH_S = 200
"""Sign-ins are made anew after so much of the gates' time."""
AT_A_TABLE = 500
"""Races on one set of gates; then they begin with an empty log."""
TURNS = (0, 0, 0, 3, 20, 100, 300, 1_000)
"""Turns of the loop before a move, one of these."""
TRIES = 3
"""Times that an agent asks again while it is told to wait."""
PATIENCE = 120.0
CODES: Mapping[str, str] = {
    "action.running": "running",
    "approval.used": "used",
    "approval.denied": "denied",
    "approval.expired": "expired",
    "approval.cancelled": "cancelled",
    "approval.closed": "closed",
    "approval.reviewed": "reviewed",
    "approval.policy_changed": "changed",
    "grant.expired": "expired",
    "kill.pulled": "stopped",
    "kill.stopped": "stopped",
    "lease.held": "held",
}
"""Answers of the gate, as the model has them; any other is a violation."""
UNCLEAR = "unclear"
"""A gate that cannot serve now (503): what was asked may have had its effect, or not."""
_CODE = re.compile(r"<code>([a-z]+\.[a-z_]+)</code>")
"""On a page of the console: the first one is the problem's."""


@dataclass(frozen=True, slots=True)
class Move:
    """One of those who race."""

    what: str
    door: str = ""
    who: str = ""
    gate: int = 0
    turns: int = 0


def moves_of(seed: int, replicas: int) -> list[Move]:
    """Who takes part in the race of ``seed``; in each fourth nobody and nothing stands against it."""
    chance = random.Random(seed)
    kinds = ["approve", "use", "use", "look"]
    kinds += chance.choices(["approve", "use", "look"], weights=[1, 2, 1], k=chance.randint(1, 3))
    if seed % 4:
        kinds += chance.choices(["deny", "time", "stop"], weights=[4, 2, 2], k=chance.randint(0, 2))
        kinds += ["policy"] if chance.random() < 0.08 else []
    once = {"time", "stop", "policy"}
    kinds = [kind for number, kind in enumerate(kinds) if kind not in once or kind not in kinds[:number]]
    doors = {
        "approve": ("http", "console"),
        "deny": ("http", "console"),
        "use": ("http", "mcp"),
        "look": ("http", "mcp"),
    }
    return [
        Move(
            kind,
            chance.choice(doors.get(kind, ("http",))),
            chance.choice(PEOPLE),
            chance.randrange(replicas),
            chance.choice(TURNS),
        )
        for kind in kinds
    ]


@dataclass
class Door:
    """One gate, and those who are signed in at it."""

    it: World
    agent: Mapping[str, str] = field(default_factory=dict)
    people: dict[str, Mapping[str, str]] = field(default_factory=dict)
    visitors: dict[str, tuple[Visitor, str]] = field(default_factory=dict)

    async def sign_in(self) -> None:
        """Everybody anew."""
        await self.leave()
        self.agent = await self.it.agent()
        for name in PEOPLE:
            self.people[name] = await self.it.person(name)
            visitor = await signed_in(self.it, name)
            self.visitors[name] = (visitor, await visitor.token())

    async def leave(self) -> None:
        """Close the browsers."""
        for visitor, _ in self.visitors.values():
            await visitor.client.aclose()


@dataclass
class Race:
    """One approval and what happened around it."""

    seed: int
    body: Mapping[str, Any]
    key: str
    action: str = ""
    approval: Mapping[str, Any] = field(default_factory=dict)
    calls: list[Call[Said]] = field(default_factory=list)
    ended: str = ""
    unclear: int = 0
    """Answers that said nothing."""


class Table:
    """Gates with everybody signed in, and the service behind them; one race after the other."""

    def __init__(self, doors: list[Door]) -> None:
        self.doors = doors
        self.effects: dict[str, list[tuple[int, int]]] = {}
        """Action id -> when its effect arrived and when it was answered."""
        self.races: list[Race] = []
        self.violations: list[str] = []
        self.answers: Counter[str] = Counter()
        self._ticks = itertools.count(1)
        self._revisions = itertools.count(100)
        self._until = 0
        self._session = ""

    @property
    def first(self) -> World:
        return self.doors[0].it

    async def service(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        """An effect arrives, and is answered some turns later."""
        came = next(self._ticks)
        await _turns(len(seen.body) % 7)
        self.effects.setdefault(seen.headers["idempotency-key"], []).append((came, next(self._ticks)))
        writer.write(whole(201, {"id": 1}))

    async def race(self, seed: int) -> None:
        """One race, and what the model says of it."""
        await self._sign_in()
        target = {"type": "project", "id": f"project-{seed % PROJECTS}", "env": "prod"}
        said = {"ticket": 7, "text": f"race {seed}"}
        body = {"session": self._session, "action": WRITE, "resource": target, "arguments": said, "reason": "a race"}
        race = Race(seed, body, f"race-{seed}")
        began = next(self._ticks)
        headers = self._keyed(self.doors[0], race)
        answer = await _served(self.first, "/v1/actions", body, headers)
        assert answer.status_code == 202, answer.text
        race.action, race.approval = answer.json()["action_id"], answer.json()["approval"]
        self.races.append(race)
        moves = moves_of(seed, len(self.doors))
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
            for move in moves:
                group.create_task(self._move(race, move))
        await self._settled(race)
        if any(move.what == "stop" for move in moves):
            await self._let_go(seed)
        self._judge(race, began)

    async def _sign_in(self) -> None:
        now = self.first.clock.now_ns() // 10**9
        if now >= self._until:
            for door in self.doors:
                await door.sign_in()
            self._session, self._until = await self.first.session(self.doors[0].agent), now + FRESH_S

    async def _move(self, race: Race, move: Move) -> None:
        await _turns(move.turns)
        does: Mapping[str, Callable[[Race, Move, Door], Awaitable[list[Said]]]] = {
            "approve": self._review,
            "deny": self._review,
            "use": self._use,
            "look": self._look,
            "time": self._time,
            "stop": self._stop,
            "policy": self._policy,
        }
        for _ in range(TRIES if move.what == "use" else 1):
            invoked = next(self._ticks)
            parts = await does[move.what](race, move, self.doors[move.gate])
            returned = next(self._ticks)
            if parts[0].came == UNCLEAR:
                race.unclear += 1
                race.calls += [Call(said, invoked) for said in _answer_of(move)]
                return
            race.calls += [Call(said, invoked, returned) for said in parts]
            if parts[0].came != "waiting":
                return

    async def _review(self, race: Race, move: Move, door: Door) -> list[Said]:
        """A person's answer."""
        fields = {"verdict": move.what, "digest": race.approval["digest"], "reason": "seen"}
        here = race.approval["id"]
        if move.door == "console":
            visitor, token = door.visitors[move.who]
            fields["key"] = f"form-{next(self._ticks)}"
            answer = await visitor.send(f"/console/inbox/{here}/reviews", fields, token=token)
            told = _CODE.search(answer.text)
            shown = {"code": told[1] if told else answer.text[:200], "status": answer.status_code}
            came = "" if answer.status_code == 303 else _class_of(shown)
        else:
            headers = {**door.people[move.who], "Idempotency-Key": f"review-{next(self._ticks)}"}
            answer = await door.it.client.post(f"/v1/approvals/{here}/reviews", json=fields, headers=headers)
            came = "" if answer.status_code == 200 else _class_of(answer.json())
        if came:
            return [Said(move.what, came, move.who)]
        return _answer_of(move)

    async def _use(self, race: Race, move: Move, door: Door) -> list[Said]:
        """The agent asks for just this again: it is told how it stands, or carries it out."""
        if move.door == "mcp":
            arguments = {name: race.body[name] for name in ("resource", "arguments", "reason")}
            meta = {"wicketgate/session": race.body["session"], "wicketgate/idempotencyKey": race.key}
            came = _told(await Mcp(door.it, door.agent).call(WRITE.replace(".", "_"), arguments, _meta=meta))
        else:
            answer = await door.it.client.post("/v1/actions", json=race.body, headers=self._keyed(door, race))
            came = _class_of(answer.json())
        return [Said("use", came, at=str(move.gate))]

    async def _look(self, race: Race, move: Move, door: Door) -> list[Said]:
        """The agent asks how it stands."""
        if move.door == "mcp":
            asked = {"arguments": {"action": race.action}}
            came = _told(await Mcp(door.it, door.agent).call("gate_actions_read", asked))
            return [Said("look", "open" if came == "waiting" else came)]
        answer = await door.it.client.get(f"/v1/actions/{race.action}", headers=door.agent)
        return [Said("look", _class_of(answer.json()))]

    async def _time(self, _race: Race, _move: Move, _door: Door) -> list[Said]:
        self.first.clock.step_wall(EXPIRES_S + 1)
        return [Said("time passes")]

    async def _stop(self, race: Race, move: Move, door: Door) -> list[Said]:
        await self._switch("/v1/kill", f"stop-{race.seed}", door, move.who)
        return [Said("stop")]

    async def _let_go(self, seed: int) -> None:
        await self._switch("/v1/kill/resume", f"resume-{seed}", self.doors[0], "security")

    async def _switch(self, path: str, key: str, door: Door, who: str) -> None:
        body = {"scope": "connector", "target": "tickets", "reason": "a race"}
        headers = {**door.people[who], "Idempotency-Key": key}
        answer = await _served(door.it, path, body, headers)
        assert answer.status_code == 200, answer.text

    async def _policy(self, _race: Race, move: Move, door: Door) -> list[Said]:
        """Another revision, at one gate and then, as its background would see it, at the others."""
        it = self.first
        revision = str(next(self._revisions))
        bundle = build_bundle(it.policies, policy_keys.dev_key(it.data / "keys", dev=True), revision)
        await door.it.gate.policy.activate(bundle.archive, bundle.signature, by="dev:race")
        for other in self.doors:
            async with asyncio.timeout(PATIENCE):
                while (active := other.it.gate.policy.active) is None or active.revision != revision:
                    await other.it.gate.policy.poll()
        return [Said("policy", at=str(number)) for number in range(len(self.doors))]

    def _keyed(self, door: Door, race: Race) -> dict[str, str]:
        return {**door.agent, "Idempotency-Key": race.key}

    async def _settled(self, race: Race) -> None:
        """Nobody asks any more: what is approved runs or is taken back, by the gates' own background."""
        approvals, here = self.first.gate.approvals, race.approval["id"]
        async with asyncio.timeout(PATIENCE):
            while race.ended in {"", "approved", "executing"}:
                with contextlib.suppress(Unavailable):
                    if race.ended:
                        for door in self.doors:
                            await door.it.gate.background.sweep()
                    race.ended = (await approvals.get("default", here)).state
                await asyncio.sleep(0.002)
        race.calls.append(Call(Said("look", race.ended), next(self._ticks), next(self._ticks)))

    def _judge(self, race: Race, began: int) -> None:
        """The history against the model; what nobody sees may have happened, or not."""
        calls = list(race.calls)
        effects = self.effects.get(race.action, [])
        for arrived, answered in effects:
            calls += [Call(Said("effect"), began, arrived), Call(Said("effect answered"), answered)]
        calls += [Call(Said(what), began) for what in ("redeemed for nothing", "given back", "taken back")]
        self.answers.update(f"{call.said.what} {call.said.came}".strip() for call in race.calls)
        strange = [call.said for call in race.calls if not is_known(call.said)]
        if strange:
            self.violations.append(f"seed {race.seed}: nobody may be told {strange}")
        elif order_of(calls, Approval(replicas=len(self.doors)), step) is None:
            told = sorted(calls, key=lambda call: call.invoked)
            self.violations.append(f"seed {race.seed}: no order explains {told}")
        if len(effects) > 1:
            self.violations.append(f"seed {race.seed}: carried out {len(effects)} times")
        if race.seed % 4 == 0 and race.ended != "done" and not race.unclear:
            self.violations.append(f"seed {race.seed}: nothing stood against it, and it is {race.ended}")

    async def judge_log(self) -> None:
        """What stands in the log of every race: one intent where it ran, after a yes on record, and no denial."""
        places: dict[str, int] = {}
        reviews: dict[str, list[tuple[int, str]]] = {}
        for place, record in enumerate(await self.first.records()):
            if record["kind"] in {"intent", "outcome", "proposal"}:
                if record["id"] in places:
                    self.violations.append(f"{record['id']} stands in the log twice")
                places[record["id"]] = place
            if record["kind"] == "review":
                answered = record["body"]["approval"]
                reviews.setdefault(answered["id"], []).append((place, answered["verdict"]))
        for race in self.races:
            answers = reviews.get(race.approval["id"], [])
            yes = [place for place, verdict in answers if verdict == "approve"]
            ran = race.action in self.effects
            order = [places.get(f"{race.approval['id']}.proposal"), min(yes, default=None)]
            order += [places.get(race.action), places.get(f"{race.action}.outcome")]
            right = None not in order and order == sorted(order, key=lambda place: place or 0)
            if ran and (not right or len(yes) != len(answers)):
                self.violations.append(f"seed {race.seed}: it ran, and the log says {order}, {answers}")
            if not ran and race.action in places:
                self.violations.append(f"seed {race.seed}: an intent, and nothing arrived")


def _answer_of(move: Move) -> list[Said]:
    """What an answer of a person does. A yes has two moments: it is stored, and it counts once it is on record."""
    if move.what == "approve":
        return [Said("yes", who=move.who), Said("counted", who=move.who)]
    return [Said("deny", "denied", move.who)] if move.what == "deny" else []


async def _served(it: World, path: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> httpx.Response:
    """POST the same under the same key until the gate serves it."""
    while True:
        answer = await it.client.post(path, json=body, headers=headers)
        if answer.status_code != 503:
            return answer


def _class_of(said: Mapping[str, Any]) -> str:
    """An answer of the HTTP API, as the model has it."""
    if said.get("status") == 503 or str(said.get("code", "")).endswith(".unavailable"):
        return UNCLEAR
    return CODES.get(said["code"], str(said["code"])) if "code" in said else str(said["status"])


def _told(answer: Mapping[str, Any]) -> str:
    """An answer of MCP: a round that ends means that it waits."""
    if answer["resultType"] == "input_required":
        return "waiting"
    said = answer["structuredContent"]
    return _class_of(said["error"] if "error" in said and said["status"] == "refused" else said)


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def _policies(folder: Path) -> Path:
    """The shipped policy with a write of the service that people have to approve, for half a minute."""
    policies = larger_limits(folder)
    for name, shipped, here in (
        ("risk", f"{WRITE}: 1", f"{WRITE}: 2"),
        ("approval", "expires_s: 900", f"expires_s: {EXPIRES_S}"),
    ):
        path = policies / "config" / name / "data.yaml"
        text = path.read_text()
        assert shipped in text
        path.write_text(text.replace(shipped, here))
    return policies


@contextlib.asynccontextmanager
async def table(store: str, folder: Path) -> AsyncIterator[Table]:
    """Gates that race: two on one PostgreSQL, one on SQLite."""
    made = Table([])
    async with contextlib.AsyncExitStack() as stack:
        service = await stack.enter_async_context(UpstreamSim(made.service))
        url = fresh_database().replace("postgresql://", "postgresql+psycopg://") if store == "postgres" else ""
        toml = gate_toml(service.port) + "[mcp]\nhold_seconds = 0.01\n"
        one = await stack.enter_async_context(world(folder, store_url=url, extra=toml, policies=_policies(folder)))
        made.doors.append(Door(one))
        if store == "postgres":
            made.doors.append(Door(await stack.enter_async_context(replica(one, folder / "second"))))
        for door in made.doors:
            stack.push_async_callback(door.leave)
        yield made


async def _races(store: str, seeds: Iterator[int], count: int, folder: Path) -> Table:
    async with table(store, folder) as made:
        for seed in itertools.islice(seeds, count):
            await made.race(seed)
        await made.judge_log()
    return made


def run(store: str, *, races: int, first: int = 1) -> dict[str, Any]:
    """Races of the seeds from ``first`` on ``store``, and the verdict."""
    began, seeds = time.monotonic(), iter(range(first, first + races))
    ends: Counter[str] = Counter()
    answers: Counter[str] = Counter()
    calls, effects, unclear, violations, left = 0, 0, 0, [], races
    while left:
        with tempfile.TemporaryDirectory(prefix="wgraces") as folder:
            made = asyncio.run(_races(store, seeds, min(left, AT_A_TABLE), Path(folder)))
        left -= min(left, AT_A_TABLE)
        ends.update(race.ended for race in made.races)
        answers += made.answers
        calls += sum(len(race.calls) for race in made.races)
        effects += sum(len(arrived) for arrived in made.effects.values())
        unclear += sum(race.unclear for race in made.races)
        violations += made.violations
    return {
        "campaign": "races",
        "store": store,
        "replicas": 2 if store == "postgres" else 1,
        "doors": "http console mcp",
        "first seed": first,
        "races": sum(ends.values()),
        "calls": calls,
        "effects": effects,
        "ended": dict(sorted(ends.items())),
        "answers": dict(sorted(answers.items())),
        "not served": unclear,
        "seconds": round(time.monotonic() - began, 1),
        **summary(),
        "violations": violations,
    }
