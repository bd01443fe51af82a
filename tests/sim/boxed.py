"""A world whose policy lets silence count: an incident with a remedy that waits, a receiver of notices, working hours."""

import asyncio
import base64
import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from broker.store import Store, timeboxes
from tests.sim import few_goldens
from tests.sim.troubled import Counters, Troubled
from tests.sim.upstream import Seen, UpstreamSim, whole
from tests.sim.world import DEPENDS_ON, World, world

MIDNIGHT = 1_767_225_600
"""When a world begins: a Thursday."""
BOX_S = 300
SECRET = "whsec_" + base64.b64encode(b"a key of thirty-two bytes, no less").decode()
Change = Callable[[dict[str, Any]], None]


def opted(folder: Path, change: Change = lambda _: None) -> Path:
    """The policies with time boxes switched on, at all hours; ``change`` edits what ``config/approval`` says of them."""
    made = folder / "policies"
    if not made.exists():
        # Without the goldens of time boxes, which say what holds while it is off.
        shutil.copytree(few_goldens.policies(), made)
    path = made / "config" / "approval" / "data.yaml"
    said = yaml.safe_load(path.read_text())
    said["time_box"]["enabled"] = True
    said["time_box"]["hours"] = [{"days": [0, 1, 2, 3, 4, 5, 6], "from_h": 0, "until_h": 24}]
    said["time_box"]["actions"]["local.cache.clear"]["prod"]["confidence_milli"] = 100
    change(said["time_box"])
    path.write_text(yaml.safe_dump(said))
    return made


def receiving(folder: Path, url: str) -> str:
    """Configuration of one receiver, with quick verification."""
    (folder / "pager.secret").write_text(SECRET + "\n")
    return f"""
[incidents]
verify_settle_seconds = 5
verify_window_seconds = 60
verify_interval_seconds = 20
notify = ["pager"]
[[inventory]]
type = "webhook"
id = "pager"
env = "prod"
region = "eu-west-1"
[[connectors]]
name = "notify"
adapter = "notify"
[connectors.settings.hooks.pager]
url = "{url}/hook"
secret_file = {json.dumps(str(folder / "pager.secret"))}
region = "eu-west-1"
allow_networks = ["127.0.0.1/32"]
"""


class Unsure(Troubled):
    """An incident whose cause the agent shows by the errors' rise and the process's state, and by no third signal."""

    async def claims(self, component: str, session: str, *, sure: bool) -> list[dict[str, Any]]:
        """Claims over a window with the time before it."""
        window = {"since_s": self.now - 600, "until_s": self.now, "step_s": 10}
        metric = await self.seen("local.metrics.range", session, {"metric": "shop_errors_total", **window}, component)
        status = await self.seen("local.process.status", session, {}, component)
        found: list[dict[str, Any]] = [
            {"observation": metric, "selector": "$.series[0].points[*] | rising", "op": "eq", "value": True},
            {"observation": metric, "selector": "$.series[0].points[*] | delta", "op": "gt", "value": "100"},
            {"observation": status, "selector": "$.state", "op": "eq", "value": "failed"},
        ]
        return [{**claim, "role": "cause"} for claim in found]


@dataclass
class Boxed:
    """A remedy of checkout's incident that waits for people, or for its time to be over."""

    trouble: Troubled
    pager: UpstreamSim
    taken: list[int] = field(default_factory=lambda: [204])
    """How the receiver answers, one after the other; the last for ever."""
    body: dict[str, Any] = field(default_factory=dict)

    @property
    def it(self) -> World:
        """The world."""
        return self.trouble.it

    async def ask(self) -> None:
        """The agent asks for a remedy of whose cause it is not quite sure, and hands over."""
        answer = await self.trouble.ask("local.cache.clear")
        assert answer.status_code == 202, answer.text
        self.body = answer.json()
        await self.trouble.finish("proposed", action_id=self.body["action_id"])
        for _ in range(100):
            await self.trouble.turn()
            if self.pager.seen:
                await self.it.work_off()  # the gate's own loop may have sent it and not yet noted so
                return
            # The gate's own loop may be about to put the event on record, before which nobody is told.
            await asyncio.sleep(0.01)

    async def shown(self) -> dict[str, Any]:
        """The request as a reviewer sees it."""
        answer = await self.it.client.get(self.body["approval"]["url"], headers=await self.it.person("oncall"))
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()["result"]["value"] if "result" in answer.json() else answer.json()
        return found

    async def box(self) -> Any:
        """Its time box as it is answered."""
        return (await self.shown())["time_box"]

    async def acknowledge(self, who: Mapping[str, str] | None = None, **more: Any) -> httpx.Response:
        """Somebody on call has seen the notice."""
        said = {"digest": self.body["approval"]["digest"], "reason": "seen", **more}
        path = f"{self.body['approval']['url']}/acknowledgements"
        headers = {**(who or await self.it.person("oncall")), **self.it.key()}
        return await self.it.client.post(path, json=said, headers=headers)

    async def later(self, seconds: int) -> None:
        """Time goes by, and the background takes its turn."""
        self.it.clock.advance(seconds)
        await self.trouble.turn()
        await self.it.gate.pipeline.drain()

    async def state(self) -> str:
        """Of the request, now that nothing is under way any more."""
        approvals = self.it.gate.approvals
        for _ in range(9_000):
            found = await approvals.get("default", self.body["approval"]["id"])
            if found.state not in {"approved", "executing"}:
                return found.state
            await asyncio.sleep(0.01)
        return found.state

    @property
    def cleared(self) -> bool:
        """Whether the remedy was done."""
        return "checkout" not in self.it.supervisor.caches

    async def kinds(self, kind: str) -> list[dict[str, Any]]:
        """Records of one kind."""
        return [one for one in await self.it.records() if one["kind"] == kind]

    async def notes(self) -> list[str]:
        """What the incident says of the box."""
        return [event.body["state"] for event in await self.trouble.events() if event.kind == "time_box"]


@asynccontextmanager
async def boxed(
    folder: Path,
    *,
    change: Change = lambda _: None,
    taken: list[int] | None = None,
    store_url: str = "",
    ask: bool = True,
    notified: bool = True,
    depends_on: Mapping[str, Sequence[str]] = DEPENDS_ON,
) -> AsyncIterator[Boxed]:
    """The scene up to where the remedy waits."""
    statuses = list(taken or [204])

    async def answer(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(whole(statuses.pop(0) if len(statuses) > 1 else statuses[0]))

    async with UpstreamSim(answer) as pager:
        extra = receiving(folder, pager.url)
        if not notified:
            extra = extra.replace('notify = ["pager"]\n', "")
        policies = opted(folder, change)
        async with world(folder, extra=extra, policies=policies, store_url=store_url, depends_on=depends_on) as it:
            it.supervisor.caches["checkout"] = b"rotten"
            child = it.supervisor.children["checkout"]
            child.running.kill()
            await child.running.wait()
            made = Boxed(Unsure(it, Counters()), pager, statuses)
            await made.trouble.open(severity="critical")
            await made.trouble.diagnose(sure=False)
            if ask:
                await made.ask()
            yield made


def play(folder: Path, scene: Callable[[Boxed], Awaitable[None]], **more: Any) -> None:
    """Play ``scene`` in a world of its own."""

    async def main() -> None:
        async with boxed(folder, **more) as it:
            await scene(it)

    asyncio.run(main())


async def counted(store: Store, now: int) -> int:
    """How often silence has counted today."""
    return await store.read(lambda c: timeboxes.counted_today(c, "default", now))
