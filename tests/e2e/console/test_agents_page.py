"""The kill switch in the console: two steps, a reason, its effect at once, and back again."""

import asyncio
from pathlib import Path

from tests.sim.visitor import signed_in
from tests.sim.world import world


def test_stopping_takes_two_steps_and_a_reason_and_holds_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent = await it.agent()
            session = await it.session(agent)
            assert (await it.act(agent, "local.process.status", session)).status_code == 200
            oncall = await signed_in(it, "oncall")
            page = await oncall.open("/console/agents")
            assert "Nothing is stopped" in page.text
            step = await oncall.open("/console/agents/stop?scope=agent&target=dev:agent-1")
            assert step.status_code == 200
            assert "every request of this agent is refused" in step.text
            assert (await it.act(agent, "local.process.status", session)).status_code == 200, "a look stops nothing"
            switch = {"scope": "agent", "target": "dev:agent-1", "key": "k-stop"}
            assert (await oncall.send("/console/agents/kill", switch)).status_code == 400, "without a reason"
            assert (await oncall.send("/console/agents/kill", {**switch, "reason": "runs wild"})).status_code == 303
            assert (await it.act(agent, "local.process.status", session)).status_code == 403
            assert "dev:agent-1" in (await oncall.open("/console/agents")).text
            assert [one["body"]["kill"]["scope"] for one in await it.records() if one["kind"] == "kill"] == ["agent"]
            back = {**switch, "reason": "mended", "key": "k-back"}
            assert (await oncall.send("/console/agents/resume", back)).status_code == 303
            assert (await it.act(agent, "local.process.status", session)).status_code == 200
            await oncall.client.aclose()

    asyncio.run(main())


def test_who_may_not_stop_is_told_why_and_text_in_a_target_stays_text(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            auditor, oncall = await signed_in(it, "auditor"), await signed_in(it, "oncall")
            assert 'aria-disabled="true"' in (await auditor.open("/console/agents")).text.partition("<main")[2]
            switch = {"scope": "agent", "target": "dev:agent-1", "reason": "x", "key": "k"}
            assert (await auditor.send("/console/agents/kill", switch)).status_code == 403
            assert (await oncall.send("/console/agents/kill", switch, token="0" * 64)).status_code == 403
            for wrong in ("scope=agent", "scope=tenant&target=x", "scope=moon", "scope=agent&target=" + "x" * 301):
                assert (await oncall.open(f"/console/agents/stop?{wrong}")).status_code == 400, wrong
            shown = await oncall.open("/console/agents/stop?scope=agent&target=%22%3E%3Cimg%20src%3Dx%3E%E2%80%AE")
            assert shown.status_code == 200
            assert "<img" not in shown.text
            assert "U+202E" in shown.text
            for one in (auditor, oncall):
                await one.client.aclose()

    asyncio.run(main())
