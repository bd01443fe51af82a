"""A host's clock that is set back or forwards opens nothing that was over, and does nothing twice."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_bad_days_approvals import RESTART, code, proposed
from tests.e2e.test_breakglass import opened
from tests.parts import fresh_database
from tests.sim.visitor import signed_in
from tests.sim.world import World, world

SHORT = "[sessions]\nseconds_max = 3000\n[console]\nabsolute_seconds = 3000\n"
BACK_S = 3_600


async def breakglass(it: World, who: Mapping[str, str], id_: str) -> str:
    found: list[dict[str, Any]] = (await it.client.get("/v1/breakglass", headers=who)).json()["breakglass"]
    return next(str(one["state"]) for one in found if one["id"] == id_)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_an_hour_back_reopens_nothing_that_was_over_and_repeats_nothing(tmp_path: Path, kind: str) -> None:
    url = fresh_database().replace("postgresql://", "postgresql+psycopg://") if kind == "postgresql" else ""

    async def main() -> None:
        async with world(tmp_path, store_url=url, extra=SHORT) as it:
            agent, security = await it.agent(), await it.person("security")
            session, key = await it.session(agent), it.key()
            ran = await proposed(it, agent, session, key=key)
            assert code(await it.review(security, ran["approval"]))[0] == 200
            assert code(await it.outcome(agent, ran["action_id"])) == (200, "done")
            waits = await proposed(it, agent, session, id_="inventory")
            visitor = await signed_in(it, "oncall")
            glass = await opened(it)
            it.clock.advance(BACK_S + 60)
            # Each of them is over, and somebody sees it.
            await it.gate.background.sweep()
            await it.work_off()
            late = await it.agent()
            assert code(await it.act(late, RESTART, session)) == (404, "session.not_found")
            assert (await visitor.open("/console/inbox")).status_code == 303
            it.clock.step_wall(-BACK_S)
            it.clock.advance(60)
            # Soon after it all began, as the host says: what was issued in its future is not believed.
            assert code(await it.act(late, RESTART, session))[0] == 401
            agent, oncall = await it.agent(), await it.person("oncall")
            assert code(await it.act(agent, RESTART, session)) == (404, "session.not_found")
            assert (await visitor.open("/console/inbox")).status_code == 303
            assert await breakglass(it, oncall, glass) == "over"
            again = await it.act(oncall, RESTART, await it.session(oncall))
            assert code(again) == (202, "waiting"), "break-glass does not cover it any more"
            assert code(await it.review(await it.person("security"), waits["approval"])) == (409, "approval.expired")
            assert code(await it.outcome(agent, waits["action_id"])) == (403, "approval.expired")
            assert code(await it.review(await it.person("security"), ran["approval"])) == (409, "approval.closed")
            assert code(await it.outcome(agent, ran["action_id"])) == (200, "done")
            await it.gate.background.sweep()
            assert (it.restarts(), it.restarts("inventory")) == (1, 0)
            await visitor.client.aclose()

    asyncio.run(main())


@pytest.mark.parametrize("step_s", [-3_600, 3_600])
def test_a_step_between_yes_and_use_redeems_nothing_until_the_clock_is_right_again(tmp_path: Path, step_s: int) -> None:
    async def main() -> None:
        async with world(tmp_path, extra="[sessions]\napproval_grace_seconds = 0\n") as it:
            agent = await it.agent()
            session, key = await it.session(agent), it.key()
            waiting = await proposed(it, agent, session, key=key)
            it.clock.advance(700)
            # The requester's sign-in ran out: it waits for their own request.
            assert code(await it.review(await it.person("security"), waiting["approval"]))[0] == 200
            it.clock.step_wall(step_s)
            for _ in range(2):
                answer = await it.act(await it.agent(), RESTART, session, key=key)
                assert answer.status_code != 200, answer.text
            assert it.restarts() == 0
            it.clock.step_wall(-step_s)
            done = await it.act(await it.agent(), RESTART, session, key=key)
            # An hour ahead a sweep may have come by, and found it expired for good.
            runs = int(step_s < 0 or done.status_code == 200)
            assert ((done.status_code == 200), it.restarts()) == (bool(runs), runs), done.text
            await it.act(await it.agent(), RESTART, session, key=key)
            assert it.restarts() == runs

    asyncio.run(main())
