"""Rules first, what memory knows checked again, the model to refute them: who may end an investigation, and how."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from agents.brief import BYTES_MAX, brief
from agents.inquiry import Argued
from agents.investigate import directed, leader_of
from agents.prose import figureless, shown
from agents.recall import held
from agents.rules import Candidate, Finding, Query, Seen
from demo.wire import Answer
from tests.sim.incident_gate import INCIDENT, READS, IncidentGate, incident, incident_gate
from tests.sim.thinking import answers, claim, fails, is_skeptic, results, says, used
from tests.unit.agents.responder import work
from tests.unit.rules.views import BEGIN, END, errors, log, repeated, running

Json = Any
Body = Mapping[str, Json]
ANY = {"type": "object", "properties": {name: {} for name in ("metric", "again", "until", "x")}}
LOCAL = [
    {"name": name, "title": name, "effect": "read", "resource_types": ["process"], "arguments": ANY}
    for name in ("local.metrics.range", "local.logs.search", "local.process.status")
]


def leak(request: Body) -> Json:
    """The connection pool of payments runs out; checkout passes its errors on."""
    where, metric = request["resource"]["id"], request["arguments"].get("metric", "")
    table = {
        ("local.metrics.range", "checkout", "shop_errors_total"): errors("checkout", passed=2),
        ("local.logs.search", "checkout", ""): repeated("payments answered 502", level="warning"),
        ("local.metrics.range", "payments", "shop_errors_total"): errors("payments", own=2),
        ("local.logs.search", "payments", ""): repeated("connection pool exhausted: 8 of 8 in use"),
        ("local.process.status", "payments", ""): running("payments"),
        ("local.process.status", "checkout", ""): running("checkout"),
    }
    return table.get((request["action"], where, metric), {"__status": "empty"})


def unknown(request: Body) -> Json:
    """The same with an error that no rule knows."""
    if request["action"] == "local.logs.search" and request["resource"]["id"] == "payments":
        return repeated("error: flux capacitor misaligned in sector 7")
    return leak(request)


def well(request: Body) -> Json:
    """Nothing is wrong."""
    where, metric = request["resource"]["id"], request["arguments"].get("metric", "")
    if request["action"] == "local.process.status":
        return running(where)
    return errors(where) if metric == "shop_errors_total" else log((BEGIN, "info", "all is well"))


def shop(*, memory: Sequence[Json] = (), events: Sequence[Json] = ()) -> dict[str, Json]:
    made = incident(incident={"since": BEGIN + 900, "opened_at": BEGIN + 900}, memory=list(memory))
    entered = {"from_state": "triaging", "to_state": "investigating", "kind": "investigating"}
    rows = [*events, entered]
    made["events"] = [
        {
            "id": f"{INCIDENT}.{n}",
            "seq": n,
            "at": END - 1,
            "actor": "x",
            "from_state": "",
            "to_state": "",
            "body": {},
            **row,
        }
        for n, row in enumerate(rows, 1)
    ]
    return made


def gate_of(fault: Any) -> Any:
    READS.extend(one for one in LOCAL if one not in READS)
    return incident_gate(local__metrics__range=fault, local__logs__search=fault, local__process__status=fault)


def ended(gate: IncidentGate) -> tuple[str, dict[str, Json]]:
    assert len(gate.finished) == 1
    return gate.finished[0]["to"], gate.finished[0]["body"]


def challenger(component: str, fault: str) -> Any:
    """A model that comes out at (component, fault), and a skeptic that looks at checkout's log once more."""

    def think(body: Body) -> Answer:
        number = len(used(body)) + 1
        window = json.loads(body["messages"][0]["content"])["window"]
        if is_skeptic(body):
            if not used(body):
                return says(("local_logs_search", {"resource": "process:checkout", "again": 1}), number=number)
            return says(("submit", {"predictions": [claim(results(body)[0]["observation"])]}), number=number)
        if not answers(body):
            query = {"tool": "local_logs_search", "input": {"resource": "process:payments", "until": window["until"]}}
            metric = {
                "tool": "local_metrics_range",
                "input": {"resource": "process:payments", "metric": "shop_errors_total", "x": 1},
            }
            rows = [("h1", "upstream_dependency", query), ("h2", "recent_change", metric), ("h3", "no_fault", query)]
            given = [
                {
                    "id": n,
                    "kind": kind,
                    "component": component,
                    "fault": fault,
                    "statement": "maybe",
                    "refuting_query": asked,
                }
                for n, kind, asked in rows
            ]
            return says(("propose", {"hypotheses": given}), number=number)
        told = answers(body)
        claims = [claim(told["h1"]["observation"]), claim(told["h2"]["observation"], role="symptom")]
        return says(("submit", {"leader": "h1", "claims": claims}), number=number)

    return think


@pytest.fixture(autouse=True)
def catalog() -> Iterator[None]:
    """The catalog as it was, afterwards."""
    before = list(READS)
    yield
    READS[:] = before


# -- without a model --------------------------------------------------------------------------------------------------------


def test_without_a_model_a_sure_leader_stands_and_is_marked_unchallenged() -> None:
    with gate_of(leak) as gate:
        gate.detail = shop()
        work(gate, model=False)
        to, body = ended(gate)
    assert to == "diagnosed", body["why"]
    assert (body["cause"]["component"], body["cause"]["fault"]) == ("payments", "pool-leak")
    assert (body["challenged"], body["unchallenged"]) == (False, "model.not_configured")


def test_without_a_model_what_no_rule_knows_is_inconclusive_with_what_is_missing() -> None:
    with gate_of(unknown) as gate:
        gate.detail = shop()
        work(gate, model=False)
        to, body = ended(gate)
    assert (to, body["rules"]) == ("inconclusive", "abstain")
    assert "flux capacitor" in body["why"]
    assert causes(gate) <= {"unknown"}


def test_what_is_well_is_noise_and_asks_no_model() -> None:
    with gate_of(well) as gate:
        gate.detail = shop()
        gate.think = challenger("payments", "pool-leak")
        work(gate)
        to, body = ended(gate)
    assert (to, body["reason"], gate.thought) == ("noise", "healthy", [])


def test_a_sure_leader_whose_claims_the_gate_does_not_find_is_no_diagnosis() -> None:
    with gate_of(leak) as gate:
        gate.detail = shop()
        gate.judge = lambda body: {
            "verdict": "inconclusive",
            "claims": body["claims"],
            "missing": [{"code": "m", "remedy": "r"}],
        }
        work(gate, model=False)
        to, body = ended(gate)
    assert (to, body["missing"]) == ("inconclusive", [{"code": "m", "remedy": "r"}])


# -- with one ----------------------------------------------------------------------------------------------------------------


def test_with_a_model_a_sure_leader_is_challenged_and_stands_with_the_claims_of_both() -> None:
    with gate_of(leak) as gate:
        gate.detail = shop()
        gate.think = challenger("payments", "pool-leak")
        work(gate)
        to, body = ended(gate)
    assert (to, body["by"], body["challenged"], body["predictions"]) == ("diagnosed", "rules", True, 1)
    last = gate.diagnosed[-1]
    assert [one["role"] for one in last["claims"]][-1] == "prediction"
    assert len(last["claims"]) > len(gate.diagnosed[0]["claims"]) + 1


def test_two_causes_with_support_are_none() -> None:
    with gate_of(leak) as gate:
        gate.detail = shop()
        gate.think = challenger("checkout", "bad-deploy")
        work(gate)
        to, body = ended(gate)
    assert (to, body["reason"], body["rival"]) == (
        "inconclusive",
        "two causes have support",
        ["checkout", "bad-deploy"],
    )


def test_a_model_that_fails_takes_nothing_from_a_sure_leader() -> None:
    with gate_of(leak) as gate:
        gate.detail = shop()
        gate.think = lambda _: fails(400, "invalid_request_error")
        work(gate)
        to, body = ended(gate)
    assert (to, body["challenged"], body["unchallenged"]) == ("diagnosed", False, "model.invalid_request_error")


# -- memory ----------------------------------------------------------------------------------------------------------------


def trace(
    component: str = "payments", fault: str = "pool-leak", outcome: str = "mitigated", **more: Json
) -> dict[str, Json]:
    return {"component": component, "fault": fault, "outcome": outcome, "since": BEGIN - 90_000, "claims": [], **more}


@pytest.mark.parametrize("outcome", ["mitigated", "handled", "escalated"])
def test_what_was_found_before_and_holds_again_costs_no_tokens(outcome: str) -> None:
    with gate_of(leak) as gate:
        gate.detail = shop(memory=[trace(outcome=outcome)])
        gate.think = challenger("payments", "pool-leak")
        work(gate)
        to, body = ended(gate)
    assert (to, body["recognised"], body["model_calls"], gate.thought) == ("diagnosed", True, 0, [])


@pytest.mark.parametrize(
    "past", [trace(outcome="rolled_back"), trace(outcome="noise"), trace("checkout"), trace(fault="bad-config")]
)
def test_what_did_not_help_or_was_something_else_is_not_recognised(past: Json) -> None:
    with gate_of(leak) as gate:
        gate.detail = shop(memory=[past])
        gate.think = challenger("payments", "pool-leak")
        work(gate)
        assert ended(gate)[1]["model_calls"] > 0


def asked_before(action: str, selector: str, op: str, value: Json, **more: Json) -> dict[str, Json]:
    query = {
        "action": action,
        "resource": {"type": "process", "id": "payments", "env": "prod"},
        "arguments": {"until_s": BEGIN - 90_000},
    }
    return {
        "selector": selector,
        "op": op,
        "value": value,
        "role": "cause",
        "text": "t",
        "verdict": "verified",
        "query": query,
        **more,
    }


FLUX = [
    asked_before("local.logs.search", "$.lines[*].text", "contains", "flux"),
    asked_before("local.process.status", "$.state", "ne", "failed"),
    asked_before("local.process.status", "$.pid", "eq", "an exact text of then"),
    asked_before("local.process.status", '$.a | since("2026-01-01T00:00:00Z") | count', "ge", 1),
    asked_before("local.process.status", "$.state", "ne", "x", verdict="refuted"),
    asked_before("shop.process.restart", "$.state", "ne", "x"),
]


def test_where_the_rules_abstain_a_past_trace_is_checked_again_on_fresh_observations() -> None:
    with gate_of(unknown) as gate:
        gate.detail = shop(memory=[trace(fault="lock-hang", outcome="escalated", claims=FLUX)])
        gate.think = challenger("payments", "pool-leak")
        work(gate)
        to, body = ended(gate)
        shifted = [
            one["arguments"] for one in gate.bodies("/v1/actions") if set(one.get("arguments", ())) == {"until_s"}
        ]
    assert (to, body["by"], body["recognised"], gate.thought) == ("diagnosed", "memory", True, [])
    assert [one["selector"] for one in gate.diagnosed[0]["claims"]] == ["$.lines[*].text", "$.state"]
    assert all(one["observation"].startswith("obs_") for one in gate.diagnosed[0]["claims"])
    assert {one["until_s"] for one in shifted} == {BEGIN + 900}


def test_a_trace_that_the_gate_does_not_find_again_goes_to_the_model() -> None:
    with gate_of(unknown) as gate:
        gate.detail = shop(memory=[trace(fault="lock-hang", claims=FLUX)])
        gate.judge = lambda body: {"verdict": "inconclusive", "claims": body["claims"], "missing": []}
        gate.think = challenger("payments", "pool-leak")
        work(gate)
        to, body = ended(gate)
    assert to == "inconclusive"
    assert body["model_calls"] > 0


# -- people ----------------------------------------------------------------------------------------------------------------


LEADER = Candidate("payments", "pool-leak", 900, [claim("obs_1")])
SECOND = Candidate("checkout", "bad-config", 500, [claim("obs_2")])
SURE = Finding("sure", [LEADER, SECOND])


def event(kind: str, component: str = "", fault: str = "") -> dict[str, Json]:
    return {"kind": kind, "component": component, "fault": fault}


@pytest.mark.parametrize(
    ("said", "verdict", "leader"),
    [
        ([], "sure", LEADER),
        ([event("note")], "sure", LEADER),
        ([event("rule_out", "payments", "pool-leak")], "abstain", SECOND),
        ([event("rule_out", "payments")], "abstain", SECOND),
        ([event("rule_out", "payments", "crash-loop")], "sure", LEADER),
        ([event("rule_out")], "sure", LEADER),
        ([event("correct", "checkout", "bad-config")], "sure", SECOND),
        ([event("correct", "inventory", "disk-full")], "abstain", LEADER),
        ([event("rule_out", "payments"), event("correct", "checkout", "bad-config")], "sure", SECOND),
    ],
)
def test_what_people_said_directs_the_investigation(said: Json, verdict: str, leader: Candidate) -> None:
    finding = directed(SURE, said)
    assert (finding.verdict, finding.ranked[0]) == (verdict, leader)


def causes(gate: Any) -> set[str]:
    """The faults that were named to the gate."""
    return {one["cause"]["fault"] for one in gate.diagnosed}


def test_a_ruled_out_cause_is_not_submitted() -> None:
    ruled = {"kind": "rule_out", "body": {"component": "payments", "fault": "pool-leak", "text": "I looked"}}
    with gate_of(leak) as gate:
        gate.detail = shop(events=[ruled])
        work(gate, model=False)
        to, body = ended(gate)
    assert (to, causes(gate)) == ("inconclusive", {"unknown"})
    assert body["why"] == "a person ruled the leader out"


def test_who_takes_over_gets_what_was_seen_judged_and_nothing_of_it_as_a_cause() -> None:
    ruled = {"kind": "rule_out", "body": {"component": "payments", "text": "I looked"}}
    with gate_of(leak) as gate:
        gate.detail = shop(events=[ruled])
        work(gate, model=False)
        _, body = ended(gate)
    (said,) = gate.diagnosed
    assert {claim["role"] for claim in said["claims"]} <= {"symptom", "context"}
    assert said["claims"]
    assert body["diagnosis"]


def test_only_a_sure_leader_is_recognised_and_only_an_accepted_one_of_the_model_leads() -> None:
    memory = [trace()]
    assert held(SURE, memory)
    assert not held(Finding("abstain", [LEADER]), memory)
    assert not held(Finding("sure"), memory)
    assert leader_of(Finding("abstain"), Argued(body={"cause": {}, "claims": []})) == (None, "")


# -- what models are shown, and what is shown of them ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("the rate rose to 0.42 at 12:30", "the rate rose to … at …"),
        ("99% of 1,200 requests in 340ms, -5 dBm", "… of … requests in …, … dBm"),
        ("http2 and s3-bucket-7 at checkout-v2 keep names", "http2 and s3-bucket-7 at checkout-v2 keep names"),
        ("claim {0} and {12} stand", "claim {0} and {12} stand"),
    ],
)
def test_free_standing_figures_are_struck_out_of_prose(text: str, left: str) -> None:
    assert figureless(text) == left


def test_a_place_shows_what_the_gate_verified_and_nothing_else() -> None:
    claims = [{"verdict": "verified", "actual": "0.42"}, {"verdict": "refuted", "actual": "7"}]
    assert shown("{0}, {1}, {5}, 3", claims) == "0.42, …, …, …"


@pytest.mark.parametrize(
    "value",
    [
        {"series": [{"labels": {"n": "x" * 4000}, "points": [[n, str(n)] for n in range(5000)]} for _ in range(300)]},
        {"lines": [{"text": "\u20ac" * 5000, "at": n} for n in range(5000)]},
        {"a": {"b": ["x" * 100_000]}},
        "x" * 1_000_000,
        [[1, 2]] * 100_000,
        {"series": [{"labels": {}, "points": [["x", "NaN"], [1], "no", None]}]},
        {f"key{n}": "x" * 500 for n in range(500)},
        None,
    ],
)
def test_whatever_comes_back_the_model_is_told_a_few_kilobytes(value: Json) -> None:
    told = brief(Seen(Query("a", "t", "i", "e"), "ok", value, "obs_1"))
    assert len(json.dumps(told, ensure_ascii=False).encode()) <= BYTES_MAX
    assert (told["observation"], told["untrusted"]) == ("obs_1", True)


def test_a_series_is_told_by_its_extremes_and_a_list_by_its_length() -> None:
    value = {
        "series": [{"labels": {"s": "a"}, "points": [[1, "2"], [2, "9"], [3, "1"]]}],
        "lines": [{"text": "x"}] * 30,
    }
    told = brief(Seen(Query("a", "t", "i", "e"), "ok", value, "obs_1"))["summary"]
    assert told["series"]["first"][0] == {
        "labels": {"s": "a"}, "points": 3, "first": [1, "2"], "last": [3, "1"], "min": [3, "1.0"], "max": [2, "9.0"],
    }  # fmt: skip
    assert (told["lines"]["count"], len(told["lines"]["first"])) == (30, 12)
