"""Time boxes in a whole gate: what nobody answers runs by itself only where every condition holds, and once."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.store import approvals as rows
from broker.store import timeboxes
from tests.sim.boxed import BOX_S, MIDNIGHT, Boxed, boxed, counted, opted, play
from tests.sim.supervisor import _start
from tests.sim.troubled import Troubled
from tests.sim.world import replica
from tests.stores import fresh_url, human

HELD_S = 121
"""After so long nobody holds a step any more that a gate died at."""
RULE = "broker.timebox/local.cache.clear/prod"
WIDE = {"storefront": ["checkout"], "mobile": ["checkout"], "partners": ["checkout"], "checkout": [], "payments": []}
Scene = Callable[[Boxed], Awaitable[None]]


async def waits_until_it_expires(it: Boxed) -> None:
    """Nothing was done by itself, a person may still answer, and at its expiry people are called as ever."""
    assert not it.cleared
    found = await it.shown()
    assert (found["state"], found["time_box"] and found["time_box"]["ends"]) in {
        ("waiting", None),
        ("waiting", "expires"),
    }
    it.it.clock.advance(found["expires_at"] - it.trouble.now)
    await it.trouble.turn()
    await it.trouble.pass_time(10, step=5)
    assert await it.state() == "expired"
    assert await it.trouble.state() == "escalated"
    [called] = [one.body for one in await it.trouble.events() if one.to_state == "escalated" != one.from_state]
    assert called["reason"] == "approval.expired"
    assert not it.cleared


# -- what happens where everything holds ----------------------------------------------------------------------------------


def test_what_nobody_answers_runs_at_the_end_of_its_box_once_somebody_has_heard(tmp_path: Path) -> None:
    async def scene(it: Boxed) -> None:
        box = await it.box()
        assert (box["state"], box["ends"], box["due"] - box["told_at"]) == ("open", "expires", BOX_S)
        [seen] = it.pager.seen
        told = seen.json["data"]
        assert (seen.json["type"], told["approval"]) == ("incident.waiting", it.body["approval"]["id"])
        assert told["runs_at"] == box["due"]
        assert (await it.acknowledge()).status_code == 200
        assert (await it.box())["ends"] == "runs"
        await it.later(BOX_S - 1)
        assert not it.cleared
        await it.later(1)
        assert await it.state() == "done"
        assert it.cleared
        assert await it.notes() == ["begun", "counted"]
        assert await counted(it.it.gate.store, it.trouble.now) == 1
        await it.later(BOX_S)
        acts = [one["body"]["action"]["name"] for one in await it.kinds("intent")]
        assert acts.count("local.cache.clear") == 1

    play(tmp_path, scene)


def test_the_record_says_by_which_rule_and_that_no_person_decided(tmp_path: Path) -> None:
    async def scene(it: Boxed) -> None:
        await it.acknowledge()
        await it.later(BOX_S)
        assert await it.state() == "done"
        reviews = {one["body"]["approval"]["verdict"]: one for one in await it.kinds("review")}
        assert set(reviews) == {"acknowledge", "silence"}
        silence = reviews["silence"]["body"]
        assert (silence["approval"]["rule"], silence["approval"]["given"]) == (RULE, 0)
        assert (silence["actor"]["kind"], silence["actor"]["issuer"]) == ("workload", "gate")
        assert silence["decision"]["effect"] == "permit"
        assert reviews["acknowledge"]["body"]["actor"]["kind"] == "human"
        [intent] = [one for one in await it.kinds("intent") if one["body"]["action"]["name"] == "local.cache.clear"]
        assert intent["body"]["approval"]["rule"] == RULE
        told = await it.it.gate.records.told("default", reviews["silence"]["id"])
        assert told is not None
        said = told[1]["reason"]
        assert '"acknowledged_by":"dev:oncall"' in said
        assert f'"ended_at":{(await it.box())["due"]}' in said

    play(tmp_path, scene)


def test_what_a_person_approves_within_the_box_runs_at_once_and_is_the_persons_decision(tmp_path: Path) -> None:
    async def scene(it: Boxed) -> None:
        await it.acknowledge()
        assert (await it.it.review(await it.it.person("oncall"), it.body["approval"])).status_code == 200
        await it.it.outcome(it.trouble.agent, it.body["action_id"])
        assert await it.state() == "done"
        [intent] = [one for one in await it.kinds("intent") if one["body"]["action"]["name"] == "local.cache.clear"]
        assert "rule" not in intent["body"]["approval"]
        await it.later(BOX_S)
        assert await counted(it.it.gate.store, it.trouble.now) == 0

    play(tmp_path, scene)


# -- each condition -------------------------------------------------------------------------------------------------------


def test_as_shipped_nothing_ever_runs_by_itself(tmp_path: Path) -> None:
    async def scene(it: Boxed) -> None:
        assert await it.box() is None
        assert it.pager.seen == []
        assert (await it.acknowledge()).json()["code"] == "approval.no_time_box"
        await it.later(BOX_S)
        await waits_until_it_expires(it)

    play(tmp_path, scene, change=lambda said: said.update(enabled=False))


def unsure(said: dict[str, Any]) -> None:
    said["actions"]["local.cache.clear"]["prod"]["confidence_milli"] = 1000


def elsewhere(said: dict[str, Any]) -> None:
    del said["actions"]["local.cache.clear"]["prod"]


def another(said: dict[str, Any]) -> None:
    said["actions"] = {"git.change.revert": {"prod": {"seconds": 300, "confidence_milli": 1}}}


def frozen(said: dict[str, Any]) -> None:
    said["freezes"] = [{"environments": ["prod"], "from_s": MIDNIGHT - 1, "until_s": MIDNIGHT + 86_400}]


OFFERS: dict[str, dict[str, Any]] = {
    "the diagnosis is not sure enough": {"change": unsure},
    "the environment is not named": {"change": elsewhere},
    "the action is not named": {"change": another},
    "too many depend on the target": {"depends_on": WIDE},
    "it is not the hour": {"change": lambda said: said["hours"][0].update(from_h=8)},
    "it is not the day": {"change": lambda said: said["hours"][0].update(days=[0, 1, 2, 3, 5, 6])},
    "changes are frozen": {"change": frozen},
    "none is allowed a day": {"change": lambda said: said.update(per_day=0)},
}


@pytest.mark.parametrize("missing", OFFERS)
def test_where_policy_does_not_let_silence_count_nobody_is_told_that_it_will(tmp_path: Path, missing: str) -> None:
    async def scene(it: Boxed) -> None:
        assert await it.box() is None
        assert it.pager.seen == []
        await it.later(BOX_S)
        assert (await it.shown())["state"] == "waiting"
        assert not it.cleared

    play(tmp_path, scene, **OFFERS[missing])


async def nobody_heard(it: Boxed) -> str:
    await it.later(BOX_S)
    assert [seen.json["data"]["runs_at"] for seen in it.pager.seen][1:] == [0], "people are told again"
    return "timebox.not_acknowledged"


async def heard_by_who_is_not_on_call(it: Boxed) -> str:
    refused = await it.acknowledge(await it.it.person("security"))
    assert refused.status_code == 403
    await it.later(BOX_S)
    return "timebox.not_acknowledged"


async def heard_too_late(it: Boxed) -> str:
    it.it.clock.advance(BOX_S)
    refused = await it.acknowledge()
    assert refused.json()["code"] in {"approval.box_over", "approval.no_time_box"}
    await it.later(0)
    return "timebox.not_acknowledged"


async def heard_another_digest(it: Boxed) -> str:
    refused = await it.acknowledge(digest="0" * 64)
    assert refused.json()["code"] == "approval.digest"
    await it.later(BOX_S)
    return "timebox.not_acknowledged"


async def role_lost(it: Boxed) -> str:
    assert (await it.acknowledge()).status_code == 200
    it.it.clock.advance(1)
    await it.it.gate.parties.note(_demoted(it))
    await it.later(BOX_S)
    return "timebox.not_acknowledged"


def _demoted(it: Boxed) -> Any:
    return replace(human("oncall"), issued_at=it.trouble.now)


async def killed(it: Boxed) -> str:
    assert (await it.acknowledge()).status_code == 200
    said = {"scope": "agent", "target": "dev:agent-1", "reason": "stop"}
    stopped = await it.it.client.post("/v1/kill", json=said, headers={**await it.it.person("oncall"), **it.it.key()})
    assert stopped.status_code == 200, stopped.text
    await it.later(BOX_S)
    return "kill.stopped"


async def another_incident(it: Boxed) -> str:
    assert (await it.acknowledge()).status_code == 200
    other = Troubled(it.it, it.trouble.counters)
    await other.open(service="payments", severity="warning")
    assert other.incident != it.trouble.incident
    await it.later(BOX_S)
    return "timebox.other_incident"


async def taken_over(it: Boxed) -> str:
    assert (await it.acknowledge()).status_code == 200
    said = {"kind": "take_over", "text": "mine"}
    path = f"/v1/incidents/{it.trouble.incident}/events"
    assert (await it.trouble.post(path, said, await it.it.person("oncall"))).status_code == 201
    await it.later(BOX_S)
    return "incident.wrong_state"


async def target_well(it: Boxed) -> str:
    """The precondition, that it does not run, holds no more."""
    assert (await it.acknowledge()).status_code == 200
    it.it.supervisor.children["checkout"].running = await _start()
    await it.later(BOX_S)
    return "remedy.precondition"


async def other_policy(it: Boxed) -> str:
    assert (await it.acknowledge()).status_code == 200
    folder = opted(it.it.folder, lambda said: said.update(dependents_max=3))
    await activated(it, folder)
    await it.later(BOX_S)
    return "approval.policy_changed"


async def withdrawn(it: Boxed) -> str:
    assert (await it.acknowledge()).status_code == 200
    await activated(it, opted(it.it.folder, lambda said: said["actions"].clear()))
    await it.later(BOX_S)
    return "timebox.not_named"


async def activated(it: Boxed, folder: Path) -> None:
    """The policies at ``folder`` are in force from now on."""
    foundations: Any = it.it.gate
    await foundations._activate_folder(folder)


ENDS: dict[str, Callable[[Boxed], Awaitable[str]]] = {
    "nobody acknowledged the notice": nobody_heard,
    "somebody without the role acknowledged": heard_by_who_is_not_on_call,
    "the acknowledgement came after the end": heard_too_late,
    "another request was acknowledged": heard_another_digest,
    "who acknowledged lost the role": role_lost,
    "the kill switch is pulled": killed,
    "another incident came near": another_incident,
    "a person took over": taken_over,
    "the target is well again": target_well,
    "the policy changed": other_policy,
    "the policy lets silence count no more": withdrawn,
}


@pytest.mark.parametrize("changed", ENDS)
def test_what_changes_within_the_box_lets_the_request_wait_for_people(tmp_path: Path, changed: str) -> None:
    async def scene(it: Boxed) -> None:
        code = await ENDS[changed](it)
        box = await it.box()
        assert (box["state"], box["ends"]) == ("void", "expires")
        assert box["code"] == code
        assert not it.cleared
        assert (await it.shown())["state"] == "waiting"
        assert await it.notes() == ["begun", "void"]
        assert "silence" not in {one["body"]["approval"]["verdict"] for one in await it.kinds("review")}

    play(tmp_path, scene)


def test_after_a_box_that_counted_for_nothing_the_request_waits_until_it_expires(tmp_path: Path) -> None:
    async def scene(it: Boxed) -> None:
        await it.later(BOX_S)
        assert (await it.box())["state"] == "void"
        await waits_until_it_expires(it)

    play(tmp_path, scene)


def test_after_a_box_that_counted_for_nothing_a_person_may_still_approve(tmp_path: Path) -> None:
    async def scene(it: Boxed) -> None:
        await it.later(BOX_S)
        assert (await it.it.review(await it.it.person("oncall"), it.body["approval"])).status_code == 200
        await it.it.outcome(it.trouble.agent, it.body["action_id"])
        assert await it.state() == "done"
        assert it.cleared

    play(tmp_path, scene)


def test_what_drifted_within_the_box_is_not_done(tmp_path: Path) -> None:
    async def scene(it: Boxed) -> None:
        await it.acknowledge()
        it.it.supervisor.caches["checkout"] = b"another one by now"
        await it.later(BOX_S)
        assert await it.state() == "cancelled"
        assert it.it.supervisor.caches == {"checkout": b"another one by now"}

    play(tmp_path, scene)


# -- the notice -----------------------------------------------------------------------------------------------------------


def test_without_a_receiver_there_is_no_box(tmp_path: Path) -> None:
    async def scene(it: Boxed) -> None:
        box = await it.box()
        assert (box["state"], box["code"], box["ends"]) == ("void", "timebox.no_receiver", "expires")
        await it.later(BOX_S)
        await waits_until_it_expires(it)

    play(tmp_path, scene, notified=False)


def test_a_box_begins_only_when_the_notice_was_taken(tmp_path: Path) -> None:
    async def scene(it: Boxed) -> None:
        box = await it.box()
        assert (box["told_at"], box["due"], box["ends"]) == (0, 0, "expires")
        assert (await it.acknowledge()).json()["code"] == "approval.box_not_begun"
        await it.later(60)
        box = await it.box()
        assert box["due"] == it.trouble.now + BOX_S
        assert len(it.pager.seen) == 2
        assert len({one.headers["webhook-id"] for one in it.pager.seen}) == 1, (
            "the receiver knows that it is one notice"
        )
        await it.acknowledge()
        await it.later(BOX_S - 1)
        assert not it.cleared
        await it.later(1)
        assert await it.state() == "done"

    play(tmp_path, scene, taken=[503, 204])


def test_a_receiver_that_never_takes_the_notice_lets_no_box_begin(tmp_path: Path) -> None:
    async def scene(it: Boxed) -> None:
        for _ in range(12):
            await it.later(60)
        assert (await it.box())["told_at"] == 0
        await waits_until_it_expires(it)

    play(tmp_path, scene, taken=[503])


# -- no ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("early", [BOX_S, 1, 0])
def test_a_denial_wins_up_to_the_last_second_also_by_who_acknowledged(tmp_path: Path, early: int) -> None:
    async def scene(it: Boxed) -> None:
        oncall = await it.it.person("oncall")
        assert (await it.acknowledge(oncall)).status_code == 200
        it.it.clock.advance(BOX_S - early)
        assert (await it.it.review(oncall, it.body["approval"], "deny")).status_code == 200
        await it.later(early)
        await it.trouble.pass_time(10, step=5)
        assert await it.state() == "denied"
        assert not it.cleared
        assert await it.trouble.state() == "escalated"

    play(tmp_path, scene)


def test_the_agent_that_asks_again_at_the_end_hastens_nothing(tmp_path: Path) -> None:
    async def scene(it: Boxed) -> None:
        key = {"Idempotency-Key": "mine"}
        answer = await it.trouble.ask("local.cache.clear", key=key)
        assert answer.status_code == 202
        it.body = answer.json()
        it.it.clock.advance(BOX_S)
        again = await it.trouble.ask("local.cache.clear", key=key)
        assert again.status_code in {202, 409}
        assert not it.cleared

    play(tmp_path, scene, ask=False)


# -- more of them ----------------------------------------------------------------------------------------------------------


def test_silence_counts_no_oftener_a_day_than_policy_says(tmp_path: Path) -> None:
    async def scene(it: Boxed) -> None:
        await it.acknowledge()
        store = it.it.gate.store
        before = await it.it.gate.approvals.get("default", it.body["approval"]["id"])
        # Another request of the tenant was approved by silence in the meantime.
        await _counted_elsewhere(it, before)
        assert await counted(store, it.trouble.now) == 1
        await it.later(BOX_S)
        assert (await it.box())["code"] == "timebox.used_up"
        assert not it.cleared

    play(tmp_path, scene, change=lambda said: said.update(per_day=1))


async def _counted_elsewhere(it: Boxed, like: Any) -> None:
    """Put a proposal like this one, whose silence has counted."""
    other = replace(like, id="apr_other", action_id="act_other")
    box = replace(like.box, proposal=other.id, state="counted", changed_at=it.trouble.now)

    def put(connection: Any) -> None:
        rows.add(connection, other)
        rows.move(connection, other.tenant, other.id, "approved", it.trouble.now)
        rows.begin(connection, other.tenant, other.id, other.digest, it.trouble.now, 60)
        timeboxes.add(connection, box)

    await it.it.gate.store.write(put)


def test_of_two_replicas_at_the_end_one_lets_it_run(tmp_path: Path) -> None:
    url = fresh_url("postgresql", tmp_path)

    async def main() -> None:
        async with AsyncExitStack() as stack:
            it = await stack.enter_async_context(boxed(tmp_path, store_url=url))
            (tmp_path / "second").mkdir()
            second = await stack.enter_async_context(replica(it.it, tmp_path / "second"))
            await it.acknowledge()
            it.it.clock.advance(BOX_S)
            await asyncio.gather(*(gate.background.work_off() for gate in (it.it.gate, second.gate) for _ in range(3)))
            await asyncio.gather(it.it.gate.background.sweep(), second.gate.background.sweep())
            assert await it.state() == "done"
            acts = [one["body"]["action"]["name"] for one in await it.kinds("intent")]
            assert acts.count("local.cache.clear") == 1
            assert [one["body"]["approval"]["verdict"] for one in await it.kinds("review")].count("silence") == 1
            assert await counted(it.it.gate.store, it.trouble.now) == 1

    asyncio.run(main())


@pytest.mark.parametrize("where", ["before the notice", "within the box", "after it counted"])
def test_a_gate_that_dies_on_the_way_goes_on_where_it_was(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(it: Boxed) -> None:
        if where != "before the notice":
            await it.ask()
            await it.acknowledge()
        if where == "after it counted":
            records = it.it.gate.records
            review = records.review

            async def gone(*said: Any, **more: Any) -> Any:
                if more["verdict"] == "silence":
                    raise asyncio.CancelledError
                return await review(*said, **more)

            monkeypatch.setattr(records, "review", gone)
            it.it.clock.advance(BOX_S)
            with suppress(asyncio.CancelledError):  # or the gate's own loop was first, and ends so
                await it.it.gate.background.work_off()
            for _ in range(9_000):
                if await counted(it.it.gate.store, it.trouble.now):
                    break
                await asyncio.sleep(0.01)
            await it.it.gate.background.sweep()
            assert not it.cleared, "what is not on record is no approval"
            monkeypatch.undo()
        if where == "before the notice":
            answer = await it.trouble.ask("local.cache.clear")
            it.body = answer.json()
            await it.trouble.finish("proposed", action_id=it.body["action_id"])
        await it.it.stop()
        await it.it.start()
        it.trouble.agent = await it.it.agent()
        await it.later(HELD_S)
        if where == "before the notice":
            assert it.pager.seen
            await it.acknowledge()
        await it.later(BOX_S)
        assert await it.state() == "done"
        verdicts = [one["body"]["approval"]["verdict"] for one in await it.kinds("review")]
        assert verdicts.count("silence") == 1
        acts = [one["body"]["action"]["name"] for one in await it.kinds("intent")]
        assert acts.count("local.cache.clear") == 1

    play(tmp_path, scene, ask=False)
