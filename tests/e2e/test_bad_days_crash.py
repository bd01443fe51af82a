"""``kill -9`` between intent and outcome: the next start says what is known, repeats nothing, and the log is whole."""

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from tests.sim.running_gate import RunningGate, running_gate, supervised
from tests.sim.supervisor import Child, Supervisor
from tests.sim.world import world

NAMES = ("checkout", "storefront", "inventory", "payments")
RESTART = "local.process.restart"


class Held:
    """A supervisor that does its part of a restart, and never answers."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.supervisor = supervisor
        self.asked: dict[str, str] = {}
        self.posts = 0
        self.holding = True
        self._real = supervisor.restart
        supervisor.restart = self._restart  # type: ignore[method-assign]

    async def _restart(self, child: Child, asked: dict[str, object]) -> bytes:
        action = str(asked["action_id"])
        self.posts += 1
        if child.name == "payments" or not self.holding:
            return await self._real(child, asked)
        if child.name == "checkout":
            await self._real(child, asked)
        if child.name == "inventory":
            self.supervisor.actions[action] = {"action_id": action, "state": "running"}
        self.asked[child.name] = action
        await asyncio.Event().wait()
        raise AssertionError


def soon(look: Callable[[], Any], seconds: float = 90) -> Any:
    """What ``look`` finds, once it finds something."""
    limit = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.02)
    return found


def ask(client: httpx.Client, session: str, name: str, key: str) -> httpx.Response:
    body = {
        "session": session,
        "action": RESTART,
        "resource": {"type": "process", "id": name, "env": "prod"},
        "reason": "it hangs",
    }
    return client.post("/v1/actions", json=body, headers={"Idempotency-Key": key})


@contextlib.contextmanager
def people(gate: RunningGate) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    with gate.client("agent") as agent, gate.client("security") as security:
        yield agent, security


def approve(agent: httpx.Client, security: httpx.Client, session: str, name: str, verb: str = "restart") -> str:
    """Propose a restart and approve it; its action id."""
    waiting = ask(agent, session, name, f"{verb}-{name}")
    assert waiting.status_code == 202, waiting.text
    approval = waiting.json()["approval"]
    review = {"verdict": "approve", "digest": approval["digest"], "reason": "yes"}
    done = security.post(
        f"/v1/approvals/{approval['id']}/reviews", json=review, headers={"Idempotency-Key": f"yes-{verb}-{name}"}
    )
    assert done.status_code == 200, done.text
    return str(waiting.json()["action_id"])


def entries(client: httpx.Client) -> list[dict[str, Any]]:
    """Every record of the log, a page at a time."""
    found: list[dict[str, Any]] = []
    while True:
        answer = client.get("/v1/audit/entries", params={"after": found[-1]["seq"] if found else -1, "limit": 20})
        assert answer.status_code == 200, answer.text
        # Reading is on record, too: the last page holds only what reading itself has added.
        found += [
            entry
            for entry in answer.json()["entries"]
            if entry["record"]["body"].get("action", {}).get("name") != "gate.audit.read"
        ]
        if len(answer.json()["entries"]) < 20:
            return found


def test_a_crash_in_the_middle_is_closed_by_what_the_target_says_and_never_repeated(tmp_path: Path) -> None:
    with supervised(*NAMES) as (supervisor, toml):
        held = Held(supervisor)
        with running_gate(tmp_path, toml) as gate, people(gate) as (agent, security):
            session = agent.post(
                "/v1/sessions", json={"intent": [{"kind": "task", "text": "restart"}]}, headers={"Idempotency-Key": "s"}
            ).json()["session"]
            finished = approve(agent, security, session, "payments")
            soon(lambda: agent.get(f"/v1/actions/{finished}").json().get("status") == "done")
            receipt = agent.get(f"/v1/actions/{finished}").json()["receipt"]
            # One at a time is resumed; the others go on by their requester's own request, in threads that never return.
            actions = {name: approve(agent, security, session, name) for name in NAMES[:3]}
            for name in NAMES[:3]:
                threading.Thread(
                    target=_until_cut, args=(gate, str(agent.headers["authorization"]), session, name), daemon=True
                ).start()
            soon(lambda: set(held.asked) == set(NAMES[:3]))
            assert held.asked == actions
            posts = held.posts
            with gate.client("auditor") as auditor:
                before = entries(auditor)
            gate.kill()
        with running_gate(tmp_path, toml) as gate, people(gate) as (agent, security), gate.client("auditor") as auditor:
            expected = {"checkout": "done", "storefront": "not_done", "inventory": "unknown"}
            for name, status in expected.items():
                shown = agent.get(f"/v1/actions/{actions[name]}")
                assert (shown.status_code, shown.json()["status"]) == (200, status), shown.text
                again = ask(agent, session, name, f"restart-{name}")
                assert (again.status_code, again.json()["status"]) == (200, status), again.text
                seen = agent.get(
                    f"/v1/observations/obs_{actions[name].removeprefix('act_')}", params={"session": session}
                )
                assert (seen.status_code, seen.json()["code"]) == (404, "observation.none"), seen.text
            assert agent.get(f"/v1/actions/{finished}").json()["receipt"] == receipt
            assert ask(agent, session, "payments", "restart-payments").json()["receipt"] == receipt
            assert held.posts == posts, "nothing was sent again"
            assert [supervisor.children[name].restarts for name in NAMES] == [1, 0, 0, 1]
            after = entries(auditor)
            assert [entry["leaf"] for entry in after[: len(before)]] == [entry["leaf"] for entry in before]
            recovered = {
                entry["record"]["about"]: entry["record"]["body"]["outcome"]["status"]
                for entry in after
                if entry["record"]["kind"] == "recovery"
            }
            assert recovered == {actions[name]: status for name, status in expected.items()}
            states = {
                one["action_id"]: one["state"]
                for one in auditor.get("/v1/approvals", params={"state": "executing"}).json()["approvals"]
            }
            assert states == {}
            # What is known to be over holds its target no longer.
            held.holding = False
            for name in ("checkout", "storefront"):
                fresh = approve(agent, security, session, name, "again")
                soon(lambda fresh=fresh: agent.get(f"/v1/actions/{fresh}").json().get("status") == "done")
            gate.stop()
            checked = gate.command(
                "audit", "verify", str(gate.data / "log"), "--vkey", str(gate.data / "log.vkey"), "--json"
            )
            assert checked.returncode == 0, checked.stdout + checked.stderr


def _until_cut(gate: RunningGate, authorization: str, session: str, name: str) -> None:
    """The requester sends the same request again and again until it runs; the crash cuts it."""
    with (
        httpx.Client(
            base_url=gate.url, headers={"Authorization": authorization}, trust_env=False, timeout=60
        ) as client,
        contextlib.suppress(httpx.HTTPError),
    ):
        while ask(client, session, name, f"restart-{name}").status_code in {202, 409}:
            time.sleep(0.05)


def test_a_crash_after_the_approval_was_taken_but_before_the_intent_withdraws_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent, security = await it.agent(), await it.person("security")
            session, key = await it.session(agent), it.key()
            waiting = (await it.act(agent, RESTART, session, key=key)).json()
            append, over = it.gate.log.append, asyncio.Event()

            async def gone(*_: Any, **__: Any) -> Any:
                await over.wait()

            it.gate.background.resume = _nothing  # type: ignore[method-assign]
            assert (await it.review(security, waiting["approval"])).status_code == 200
            it.gate.log.append = gone  # type: ignore[method-assign]
            stuck = asyncio.create_task(it.act(agent, RESTART, session, key=key))
            for _ in range(9_000):
                if (await it.gate.approvals.get("default", waiting["approval"]["id"])).state == "executing":
                    break
                await asyncio.sleep(0.01)
            # The process ends here: what it held in memory is gone.
            for task in [stuck, *it.gate.pipeline._running]:
                task.cancel()
            await asyncio.gather(stuck, return_exceptions=True)
            it.gate.log.append = append  # type: ignore[method-assign]
            await it.stop()
            await it.start()
            agent = await it.agent()
            state = await it.client.get(f"/v1/actions/{waiting['action_id']}", headers=agent)
            assert (state.status_code, state.json()["code"]) == (403, "approval.cancelled")
            assert it.restarts() == 0
            again = await it.act(agent, RESTART, session, key=it.key())
            assert again.status_code == 202
            over.set()

    asyncio.run(main())


async def _nothing(_: object) -> None:
    return None


def test_stored_answers_survive_a_restart(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent = await it.agent()
            session, key, restart = await it.session(agent), it.key(), it.key()
            first = await it.act(agent, "local.logs.search", session, {"window_seconds": 60}, key=key)
            done = await it.act(agent, RESTART, session, env="staging", key=restart)
            assert first.status_code == done.status_code == 200
            await it.stop()
            await it.start()
            agent = await it.agent()
            again = await it.act(agent, "local.logs.search", session, {"window_seconds": 60}, key=key)
            assert again.json() == first.json()
            replay = await it.act(agent, RESTART, session, env="staging", key=restart)
            assert replay.json() == done.json()
            assert it.restarts() == 1
            other = await it.act(agent, "local.logs.search", session, {"window_seconds": 61}, key=key)
            assert (other.status_code, other.json()["code"]) == (422, "idempotency.key_reused")
            assert json.loads(again.text)["action_id"] == first.json()["action_id"]

    asyncio.run(main())
