"""What a remedy holds: its target and what directly depends on it, all or nothing, while it is done and never while it waits."""

from pathlib import Path

import pytest
from sqlalchemy import text

from broker.errors import BrokerError
from broker.leases import Leases
from tests.e2e.test_remedies import play
from tests.sim.troubled import Troubled

HELD = text("SELECT key FROM lease WHERE holder LIKE 'act_%' ORDER BY key")
REACH = ["process/prod/checkout", "process/prod/storefront"]
"""Storefront depends on checkout; inventory and payments are what checkout needs, and stay free."""


async def held(it: Troubled) -> list[str]:
    rows = await it.it.gate.store.read(lambda c: c.execute(HELD).scalars().all())
    return [str(one) for one in rows]


def another(it: Troubled) -> Leases:
    """The leases as another replica sees them."""
    return Leases(it.it.gate.store, it.it.clock)


async def refused(it: Troubled, key: str) -> str:
    """What somebody else who wants ``key`` is told; empty where they get it."""
    leases = another(it)
    try:
        await leases.acquire("default", [key], "somebody else", 60)
    except BrokerError as error:
        return error.error_code
    await leases.release("default", "somebody else")
    return ""


@pytest.mark.parametrize("sure", [True, False], ids=["by itself", "approved"])
def test_a_remedy_holds_its_target_and_its_dependents_while_it_is_done_and_nothing_while_it_waits(
    sure: bool, tmp_path: Path
) -> None:
    async def scene(it: Troubled) -> None:
        await it.diagnose(sure=sure)
        looks: list[list[str]] = []
        others: dict[str, str] = {}

        async def look() -> None:
            """Each time that the gate looks at the cache: before the plan, and last of all before it is moved."""
            looks.append(await held(it))
            if looks[-1]:
                others.update({name: await refused(it, f"process/prod/{name}") for name in ("storefront", "inventory")})
            it.it.supervisor.meanwhile = look

        it.it.supervisor.meanwhile = look
        asked = await it.ask("local.cache.clear")
        if not sure:
            assert asked.status_code == 202
            assert await held(it) == [], "nothing is held while people decide"
            assert (await it.it.review(await it.it.person("oncall"), asked.json()["approval"])).status_code == 200
            assert (await it.it.outcome(it.agent, asked.json()["action_id"])).json()["status"] == "done"
        assert looks[0] == [], "a plan holds nothing"
        assert looks[-1] == REACH, "the last look is under the lease"
        assert others == {"storefront": "lease.held", "inventory": ""}
        assert await held(it) == [], "what is done is given back"

    play(tmp_path, scene)


def test_while_a_dependent_is_held_a_remedy_takes_nothing_and_comes_again(tmp_path: Path) -> None:
    async def scene(it: Troubled) -> None:
        await it.diagnose()
        await another(it).acquire("default", [REACH[1]], "somebody else", 60)
        asked = await it.ask("local.cache.clear")
        assert (asked.status_code, asked.json()["code"]) == (409, "lease.held")
        assert int(asked.headers["Retry-After"]) <= 60
        assert await held(it) == []
        assert it.it.supervisor.caches == {"checkout": b"rotten"}
        await another(it).release("default", "somebody else")
        assert (await it.ask("local.cache.clear")).status_code == 200

    play(tmp_path, scene)
