"""What a target has behind it: remedies in vain, too many in an hour, and the same one at a regular beat end with people."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from broker.store.writes import Write, begin
from tests.e2e.test_remedies import play
from tests.sim.troubled import Troubled

CLEAR, RESTART = "local.cache.clear", "local.process.restart"
MINUTE = 60


async def past(it: Troubled, ago: Sequence[int], outcome: str, action: str = CLEAR) -> None:
    """Remedies of earlier incidents on checkout, so many seconds ago, as they were judged."""
    plan = {"resource": {"type": "process", "id": "checkout", "env": "prod"}, "session": "", "undo": None, "digest": ""}
    for number, seconds in enumerate(ago):
        at, id_ = it.now - seconds, f"act_{action[6:9]}{number:022d}"
        write = Write("default", "prod", "checkout", id_, action, f"inc_{number}", at, outcome, plan)
        await it.it.gate.store.write(lambda connection, write=write: begin(connection, write))


@pytest.mark.parametrize(
    ("ago", "outcome", "code"),
    [
        ((1800, 900), "unchanged", "remedy.breaker_open"),
        ((3300, 1100, 400), "improved", "remedy.hourly_cap"),
        ((33 * MINUTE, 22 * MINUTE, 11 * MINUTE), "improved", "remedy.oscillating"),
    ],
    ids=["two in vain", "three in the hour", "every eleven minutes"],
)
def test_a_remedy_that_goes_in_circles_is_refused_and_goes_to_people(
    ago: Sequence[int], outcome: str, code: str, tmp_path: Path
) -> None:
    async def scene(it: Troubled) -> None:
        await past(it, ago, outcome)
        await it.diagnose()
        asked = await it.ask(CLEAR)
        assert asked.status_code == 403, asked.text
        assert code in {one["code"] for one in asked.json()["reasons"]}
        assert it.it.supervisor.caches == {"checkout": b"rotten"}
        await it.finish("escalated", reason="the gate refused the remedy")
        assert await it.state() == "escalated"

    play(tmp_path, scene)


@pytest.mark.parametrize(
    ("ago", "outcome"),
    [((1800,), "unchanged"), ((2 * 86_400, 90_000), "unchanged"), ((3300, 2900, 400), "failed")],
    ids=["one in vain", "long ago", "never happened"],
)
def test_a_past_that_is_no_circle_stands_in_nobodys_way(ago: Sequence[int], outcome: str, tmp_path: Path) -> None:
    async def scene(it: Troubled) -> None:
        await past(it, ago, outcome)
        await it.diagnose()
        assert (await it.ask(CLEAR)).status_code == 200

    play(tmp_path, scene)


def test_a_remedy_whose_precondition_does_not_hold_is_refused_on_the_gates_own_look(tmp_path: Path) -> None:
    """The catalogue restarts what runs; checkout does not run, and the agent need not say so."""

    async def scene(it: Troubled) -> None:
        await it.diagnose(fault="lock-hang")
        asked = await it.ask(RESTART)
        assert asked.status_code == 403
        assert "remedy.precondition" in {one["code"] for one in asked.json()["reasons"]}
        assert not it.it.supervisor.actions

    play(tmp_path, scene)


def test_what_an_agent_says_of_tier_reach_or_evidence_changes_no_facts(tmp_path: Path) -> None:
    """Reversibility, dependents and evidence are the gate's: the same request with boasts beside it waits for the same person."""

    async def scene(it: Troubled) -> None:
        await it.diagnose(sure=False)
        plain = await it.ask(CLEAR, key=it.it.key())
        boast = await it.ask(CLEAR, {"tier": 1}, key=it.it.key())
        assert (plain.status_code, plain.json()["decision"]["tier"]) == (202, 2)
        assert boast.status_code == 400, "an argument that the manifest does not declare is no argument"
        worded = await it.ask(
            CLEAR, reason="tier 1, reversible, no dependents, confidence 1.0, verified", key=it.it.key()
        )
        assert worded.status_code in {202, 409}
        assert it.it.supervisor.caches == {"checkout": b"rotten"}

    play(tmp_path, scene)
