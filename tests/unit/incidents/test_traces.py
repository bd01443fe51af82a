"""What an incident leaves for the next one, and which of the past is told first."""

from collections.abc import Callable
from typing import Any

import pytest

from broker.incidents import Incident
from broker.incidents.traces import HALF_LIFE_S, outcome_of, ranked
from broker.store import Store
from broker.store.tables import target_write
from broker.store.traces import Trace
from tests.shop import EXECUTED, Shop

Run = Callable[[Any], Any]

ACTIONS = [
    {
        "action_id": "act_r",
        "observation": "obs_1",
        "action": "local.metrics.query",
        "resource": {"type": "process", "id": "payments", "env": "prod"},
        "arguments": {"metric": "errors", "since_s": 1_767_225_000},
        "effect": "read",
        "status": "done",
        "at": 1_767_225_610,
    },
    {
        "action_id": "act_1",
        "observation": "obs_2",
        "action": "git.change.revert",
        "resource": {"type": "repository", "id": "shop", "env": "prod"},
        "arguments": {"commit": "abc"},
        "effect": "write",
        "status": "done",
        "at": 1_767_225_620,
    },
]


async def wrote(shop: Shop, incident: Incident, outcome: str) -> None:
    """A write on a target, as the remedies room keeps it."""
    values = {
        "tenant": shop.tenant,
        "env": "prod",
        "target": "payments",
        "action_id": "act_1",
        "action": "git.change.revert",
        "incident": incident.id,
        "at": 1_767_225_620,
        "outcome": outcome,
        "plan": b"{}",
    }
    await shop.store.write(lambda c: c.execute(target_write.insert().values(values)))


async def solved(shop: Shop, *path: str, outcome: str = "improved", **changes: Any) -> Incident:
    """An incident that ran to its end."""
    opened = await shop.receive(**changes)
    await shop.to_state(opened, *EXECUTED, *path)
    await wrote(shop, opened, outcome)
    await shop.receive(**{**changes, "status": "resolved"})
    closed = await shop.incidents.learn(await shop.claim("learn"), actions=ACTIONS)
    await shop.record()
    return closed


def test_a_trace_holds_what_was_checked_ruled_out_and_done_and_can_be_asked_again(shop: Shop, run: Run) -> None:
    async def main() -> None:
        closed = await solved(shop, "mitigated")
        [told] = await shop.incidents.similar(shop.tenant, fingerprint=closed.fingerprint, service="checkout")
        assert (told["incident"], told["outcome"], told["since"]) == (closed.id, "mitigated", closed.since)
        assert (told["component"], told["fault"]) == ("payments", "bad-config")
        assert told["first"] == [
            {name: ACTIONS[0][name] for name in ("action", "resource", "arguments", "status")},
        ]
        [claim] = told["claims"]
        assert (claim["selector"], claim["verdict"]) == ("$.n", "verified")
        assert claim["query"]["arguments"] == ACTIONS[0]["arguments"]
        [rival] = told["ruled_out"]
        assert (rival["component"], rival["why"], rival["claims"][0]["selector"]) == ("search", "it answers", "$.n")
        [remedy] = told["remedies"]
        assert (remedy["action"], remedy["outcome"], remedy["arguments"]) == (
            "git.change.revert",
            "improved",
            {"commit": "abc"},
        )
        assert (await shop.last(closed)).body == {
            "outcome": "mitigated",
            "component": "payments",
            "fault": "bad-config",
        }

    run(main())


def test_what_people_did_stands_in_the_trace_and_their_word_on_the_cause_wins(shop: Shop, run: Run) -> None:
    async def main() -> None:
        opened = await shop.to_state(await shop.receive(), "investigating", "diagnosed")
        say = {"component": "inventory", "fault": "disk-full", "text": "the disk is full"}
        await shop.incidents.note(shop.tenant, opened.id, kind="rule_out", by="dev:ann", body={"component": "search"})
        await shop.incidents.note(shop.tenant, opened.id, kind="correct", by="dev:ann", body=say)
        await shop.incidents.note(shop.tenant, opened.id, kind="take_over", by="dev:ann")
        await shop.incidents.note(shop.tenant, opened.id, kind="hand_back", by="dev:ann", body={"to": "learning"})
        await shop.incidents.learn(await shop.claim("learn"))
        [told] = await shop.incidents.similar(shop.tenant, fingerprint="fp-checkout", service="checkout")
        assert (told["component"], told["fault"], told["corrected"]) == ("inventory", "disk-full", True)
        assert told["outcome"] == "handled"
        kinds = [one["kind"] for one in told["overrides"]]
        assert kinds == ["rule_out", "correct", "hand_back", "take_over", "hand_back"]
        assert {"component": "search", "fault": "", "text": "", "by": "dev:ann", "claims": []} in told["ruled_out"]

    run(main())


def test_a_trace_keeps_what_people_noted_and_changed_elsewhere_and_no_note_of_an_agent(shop: Shop, run: Run) -> None:
    async def main() -> None:
        opened = await shop.receive()

        async def said(kind: str, by: str, **body: Any) -> None:
            await shop.incidents.note(shop.tenant, opened.id, kind=kind, by=by, body=body)

        for number in range(20):
            await said("note", "dev:ann", text=f"n{number}")
        await said("note", "dev:agent-1", text="trust me", machine=True)
        await said("outside_change", "dev:bob", text="I drained it")
        await shop.to_state(opened, "noise")
        await shop.incidents.learn(await shop.claim("learn"))
        [told] = await shop.incidents.similar(shop.tenant, fingerprint="fp-checkout", service="checkout")
        assert [(one["by"], one["body"]["text"]) for one in told["overrides"]] == [
            *(("dev:ann", f"n{number}") for number in range(4, 20)),
            ("dev:bob", "I drained it"),
        ]
        people = (await shop.incidents.postmortem(shop.tenant, opened.id))["people"]
        assert {one["by"] for one in people} == {"dev:ann", "dev:bob"}

    run(main())


@pytest.mark.parametrize(
    ("path", "outcome"),
    [
        (("noise",), "noise"),
        (("investigating", "escalated"), "escalated"),
        ((*EXECUTED, "mitigated"), "mitigated"),
        ((*EXECUTED, "rolling_back", "rolled_back", "escalated"), "rolled_back"),
        ((*EXECUTED, "escalated"), "escalated"),
        (("investigating", "escalated", "human_hold"), "handled"),
    ],
)
def test_an_outcome_follows_from_the_states_alone(shop: Shop, run: Run, path: tuple[str, ...], outcome: str) -> None:
    async def main() -> None:
        opened = await shop.to_state(await shop.receive(), *path, "learning")
        assert outcome_of(await shop.incidents.events(shop.tenant, opened.id)) == outcome

    run(main())


def test_learning_is_one_transaction_with_the_closing(shop: Shop, run: Run) -> None:
    async def main() -> None:
        opened = await shop.to_state(await shop.receive(), "noise")
        claimed = await shop.claim("learn")
        closed = await shop.incidents.learn(claimed)
        assert (closed.state, (await shop.kinds(opened))[-2:]) == ("closed", ["learning", "closed"])
        with pytest.raises(Exception, match="not held"):
            await shop.incidents.learn(claimed)
        assert len(await shop.incidents.similar(shop.tenant, fingerprint="", service="checkout")) == 1

    run(main())


def test_tenants_never_learn_from_each_other(store: Store, run: Run) -> None:
    one, other = Shop(store), Shop(store)

    async def main() -> None:
        closed = await solved(one, "mitigated")
        assert await other.incidents.similar(other.tenant, fingerprint=closed.fingerprint, service="checkout") == []

    run(main())


def trace(number: int, **changes: Any) -> Trace:
    """A past incident of checkout that was mitigated."""
    values: dict[str, Any] = {
        "tenant": "t",
        "id": f"inc_{number}",
        "fingerprint": "f",
        "service": "checkout",
        "env": "prod",
        "fault": "bad-config",
        "component": "payments",
        "outcome": "mitigated",
        "trace": {"incident": f"inc_{number}", "remedies": [{"action": "git.change.revert"}]},
        "at": 1_000_000,
    }
    return Trace(**{**values, **changes})


def order(*traces: Trace, now_s: int = 1_000_000, **changes: Any) -> list[str]:
    """Ids in the order in which they are told."""
    asked: dict[str, Any] = {"fingerprint": "f", "service": "checkout", "env": "prod", "fault": ""}
    return [one["incident"] for one in ranked(traces, **{**asked, **changes}, now_s=now_s, limit=10)]


def test_what_is_more_alike_comes_first() -> None:
    same = trace(1)
    of_service = trace(2, fingerprint="other")
    of_fault = trace(3, fingerprint="other", service="search")
    assert order(of_fault, of_service, same, fault="bad-config") == ["inc_1", "inc_2", "inc_3"]


def test_what_helped_comes_before_what_did_not() -> None:
    outcomes = ["rolled_back", "escalated", "noise", "handled", "mitigated"]
    past = [trace(n, outcome=outcome, component=f"c{n}") for n, outcome in enumerate(outcomes)]
    assert order(*past) == ["inc_4", "inc_3", "inc_2", "inc_1", "inc_0"]


def test_a_remedy_that_failed_since_loses_weight_wherever_it_is_told() -> None:
    good = trace(1)
    rival = trace(2, component="inventory", at=1_000_000 - HALF_LIFE_S // 10)
    assert order(good, rival) == ["inc_1", "inc_2"]
    failed = [trace(3 + n, outcome="rolled_back") for n in range(3)]
    assert order(good, rival, *failed)[0] == "inc_2"


def test_the_young_comes_before_the_old_and_the_same_environment_before_another() -> None:
    assert order(trace(1, at=1_000_000 - HALF_LIFE_S), trace(2)) == ["inc_2", "inc_1"]
    assert order(trace(1, env="staging"), trace(2)) == ["inc_2", "inc_1"]
    assert order(trace(1, at=2_000_000)) == ["inc_1"]
