"""The model's part of an investigation, and each of its bad days: real HTTP, the real SDK, a scripted model."""

import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import pytest

from agents.asking import Budget, Price
from demo.wire import Answer
from tests.sim.incident_gate import INCIDENT, IncidentGate, incident, incident_gate
from tests.sim.thinking import (
    WINDOW,
    answers,
    claim,
    diligent,
    fails,
    hypotheses,
    is_skeptic,
    results,
    says,
    streamed,
    used,
)
from tests.unit.agents.responder import Waits, work

Json = Any
Body = Mapping[str, Json]
READS: dict[str, Json] = {
    "shop__logs__search": {"lines": [{"at": 1, "level": "error", "text": "pool exhausted"}], "matched": 1, "a": "x"},
    "shop__change__list": {"commits": [{"commit": "abc", "subject": "smaller pool"}], "a": "x"},
    "shop__metrics__range": {"series": [{"labels": {}, "points": [[1, "0.5"], [2, "0.7"]]}], "a": "x"},
}


PROPOSED = hypotheses()["hypotheses"]


def ended(gate: IncidentGate) -> tuple[str, dict[str, Json]]:
    """Where the only finished step took the incident, and what it said."""
    assert len(gate.finished) == 1
    return gate.finished[0]["to"], gate.finished[0]["body"]


def thinking(first: Callable[[int, Body], Answer | None]) -> Callable[[Body], Answer]:
    """A model that answers its n-th call by ``first``, and diligently where that gives nothing."""
    calls = 0

    def think(body: Body) -> Answer:
        nonlocal calls
        calls += 1
        return first(calls, body) or diligent(body)

    return think


# -- the way it should go ----------------------------------------------------------------------------------------------


def test_the_model_proposes_reads_submits_and_survives_the_skeptic() -> None:
    with incident_gate(**READS) as gate:
        gate.think = diligent
        told = work(gate)
        to, body = ended(gate)
    assert to == "diagnosed"
    assert body["by"] == "model"
    assert body["challenged"] is True
    assert [one["kind"] for one in body["hypotheses"]] == ["upstream_dependency", "recent_change", "no_fault"]
    assert body["diagnosis"] == "dgn_2", "the diagnosis that the predictions of the skeptic are part of"
    assert gate.diagnosed[1]["claims"][2]["role"] == "prediction"
    assert body["model_calls"] == len(gate.thought) == 4
    assert len(told.of("said")) == 4


@pytest.mark.parametrize("nodes", [{"checkout": "project", "payments": "process"}, {"payments": "process"}])
def test_the_affected_service_may_be_named_whatever_the_topology_knows_it_as(nodes: Mapping[str, str]) -> None:
    told = [{"id": name, "type": kind, "env": "prod", "owners": []} for name, kind in nodes.items()]
    with incident_gate(**READS) as gate:
        gate.detail = incident(topology={"nodes": told, "edges": [["checkout", "payments"]]})
        gate.think = diligent
        work(gate)
    [propose] = [one for one in gate.thought[0]["tools"] if one["name"] == "propose"]
    named = propose["input_schema"]["properties"]["hypotheses"]["items"]["properties"]["component"]["enum"]
    assert named == ["payments", "checkout"]


def test_a_false_claim_is_refuted_by_the_gate_and_the_model_mends_it() -> None:
    with incident_gate(**READS) as gate:
        gate.think = lambda body: diligent(body, false_first=True)
        told = work(gate)
        assert ended(gate)[0] == "diagnosed"
        judged = [one["verdict"] for one in told.of("judged")]
        corrected = [results(body) for body in gate.thought if "submit" in used(body)]
    assert judged == ["inconclusive", "diagnosed", "diagnosed"]
    assert corrected[0][1]["claims"][0]["verdict"] == "refuted"


def test_a_model_that_cannot_mend_its_claims_ends_inconclusive_with_what_is_missing() -> None:
    def stubborn(body: Body) -> Answer:
        if "propose" not in used(body):
            return diligent(body)
        false = [claim(answers(body)["h2"]["observation"], "false claim")]
        return says(("submit", {"leader": "h2", "claims": false}), number=len(used(body)))

    with incident_gate(**READS) as gate:
        gate.think = stubborn
        work(gate)
        to, body = ended(gate)
    assert to == "inconclusive"
    assert body["missing"] == [{"code": "evidence.refuted", "remedy": "mend the claim"}]
    assert not any(is_skeptic(one) for one in gate.thought), "there is nothing to refute"


def test_a_refuted_prediction_of_the_skeptic_takes_the_diagnosis() -> None:
    def skeptical(body: Body) -> Answer:
        if is_skeptic(body) and used(body):
            refuting = claim(results(body)[0]["observation"], "false claim")
            return says(("submit", {"predictions": [refuting]}), number=9)
        return diligent(body)

    with incident_gate(**READS) as gate:
        gate.think = skeptical
        work(gate)
        assert ended(gate)[0] == "inconclusive"


def test_the_skeptic_sees_claims_and_handles_but_not_the_story() -> None:
    with incident_gate(**READS) as gate:
        gate.think = diligent
        work(gate)
        shown = [json.dumps(body["messages"]) for body in gate.thought if is_skeptic(body)]
    assert len(shown) == 2
    assert "obs_" in shown[0]
    for story in ("it shows", "I see", "hypothes", "payments answers", "first_tier", "HighErrorRate"):
        assert story not in shown[0]


def test_the_skeptic_must_make_a_query_of_its_own() -> None:
    def lazy(body: Body) -> Answer:
        if is_skeptic(body) and not used(body):
            return says(("submit", {"predictions": [claim("obs_" + "a" * 26)]}))
        if is_skeptic(body) and len(used(body)) == 1:
            return says(("shop_metrics_range", {"resource": "process:checkout", "metric": "m", **WINDOW}), number=2)
        if is_skeptic(body):
            return says(("submit", {"predictions": [claim(results(body)[-1]["observation"])]}), number=3)
        return diligent(body)

    with incident_gate(**READS) as gate:
        gate.think = lazy
        work(gate)
        assert ended(gate)[0] == "diagnosed"
        refused = next(results(body) for body in gate.thought if is_skeptic(body) and len(used(body)) == 1)[0]
    assert refused["is_error"]
    assert "nothing new was queried" in refused["detail"]


def test_without_its_skeptic_the_model_tier_diagnoses_nothing() -> None:
    def mute(body: Body) -> Answer:
        return says(text="…", stop="refusal") if is_skeptic(body) else diligent(body)

    with incident_gate(**READS) as gate:
        gate.think = mute
        told = work(gate)
        to, body = ended(gate)
    assert to == "inconclusive"
    assert body["unchallenged"] == "model.refusal"
    assert told.of("model_failed")[0]["code"] == "model.refusal"


def test_figures_of_the_model_are_shown_only_where_the_gate_verified_them() -> None:
    with incident_gate(**READS) as gate:
        gate.think = diligent
        work(gate)
        _, body = ended(gate)
    assert gate.diagnosed[0]["cause"]["summary"] == "… errors by {0}"
    assert body["cause"]["summary"] == "… errors by x"


def test_a_confidence_or_a_verdict_of_the_model_s_own_is_refused_with_the_whole_submission() -> None:
    def boasting(body: Body) -> Answer:
        if "propose" not in used(body) or is_skeptic(body) or used(body).count("submit"):
            return diligent(body)
        claims = [{**claim(answers(body)["h2"]["observation"]), "verified": True, "confidence": "0.99"}]
        return says(("submit", {"leader": "h2", "claims": claims}), number=5)

    with incident_gate(**READS) as gate:
        gate.think = boasting
        work(gate)
        assert ended(gate)[0] == "diagnosed"
        assert len(gate.diagnosed) == 2
        assert "confidence" not in json.dumps([body["claims"] for body in gate.diagnosed])


# -- what it may do wrong -----------------------------------------------------------------------------------------------


def test_a_tool_that_was_not_offered_is_refused_told_and_noted() -> None:
    def wish(n: int, _: Body) -> Answer | None:
        return says(("shop_process_restart", {"resource": "process:payments"})) if n == 1 else None

    with incident_gate(**READS) as gate:
        gate.think = thinking(wish)
        work(gate)
        _, body = ended(gate)
        asked = [one.get("action") for one in gate.bodies("/v1/actions")]
        told = results(gate.thought[1])[0]
    assert told["code"] == "tool.not_offered"
    assert body["not_offered"] == ["shop_process_restart"]
    assert "shop.process.restart" not in asked


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"hypotheses": []},
        {"hypotheses": hypotheses()["hypotheses"][:2]},
        {"hypotheses": [{**one, "kind": "other"} for one in hypotheses()["hypotheses"]]},
        {"hypotheses": [{**one, "id": "h1"} for one in hypotheses()["hypotheses"]]},
        {"hypotheses": [{**one, "fault": "gremlins"} for one in hypotheses()["hypotheses"]]},
        {"hypotheses": [{**one, "component": "elsewhere"} for one in hypotheses()["hypotheses"]]},
        {**hypotheses(), "verified": True},
        *(
            {"hypotheses": [{**one, "kind": "other" if one["kind"] == kind else one["kind"]} for one in PROPOSED]}
            for kind in ("upstream_dependency", "recent_change", "no_fault")
        ),
        {"hypotheses": [{**one, "id": f"h{n}"} for n, one in enumerate([*PROPOSED, *PROPOSED, PROPOSED[0]], 1)]},
        {"hypotheses": [{name: one[name] for name in one if name != "refuting_query"} for one in PROPOSED]},
    ],
)
def test_hypotheses_that_do_not_fit_are_answered_with_what_is_wrong(given: Json) -> None:
    with incident_gate(**READS) as gate:
        gate.think = thinking(lambda n, _: says(("propose", given)) if n == 1 else None)
        work(gate)
        told = results(gate.thought[1])[0]
        assert ended(gate)[0] == "diagnosed"
    assert told["code"] == "tool.input"


@pytest.mark.parametrize("given", ["no object", '{"hypotheses": [', "[1, 2]", "{not json"])
def test_input_that_is_no_json_object_is_answered_or_asked_anew(given: str) -> None:
    def broken(n: int, _: Body) -> Answer | None:
        block = {"type": "tool_use", "id": "toolu_1", "name": "propose", "input": given}
        return streamed([block], "tool_use") if n == 1 else None

    with incident_gate(**READS) as gate:
        gate.think = thinking(broken)
        work(gate)
        assert ended(gate)[0] == "diagnosed"


def test_words_alone_are_no_submission_and_end_as_nonsense() -> None:
    with incident_gate(**READS) as gate:
        gate.think = lambda _: says(text="It is the database, I am 100 percent sure.")
        work(gate)
        to, body = ended(gate)
    assert to == "inconclusive"
    assert body["unchallenged"] == "model.nonsense"
    assert len(gate.thought) == 6


def test_an_answer_that_was_cut_off_is_not_used_and_asked_for_again() -> None:
    def cut(n: int, _: Body) -> Answer | None:
        return says(("propose", hypotheses()), stop="max_tokens") if n == 1 else None

    with incident_gate(**READS) as gate:
        gate.think = thinking(cut)
        work(gate)
        assert ended(gate)[0] == "diagnosed"
        assert used(gate.thought[1]) == []
        assert "cut off" in json.dumps(gate.thought[1]["messages"])


@pytest.mark.parametrize(
    ("stop", "code"), [("refusal", "model.refusal"), ("model_context_window_exceeded", "model.context_full")]
)
def test_a_refusal_or_a_full_context_ends_the_model_tier_at_once(stop: str, code: str) -> None:
    with incident_gate(**READS) as gate:
        gate.think = lambda _: says(text="I will not", stop=stop)
        work(gate)
        to, body = ended(gate)
    assert (to, body["unchallenged"], len(gate.thought)) == ("inconclusive", code, 1)


def test_a_leader_that_was_not_proposed_and_observations_that_were_not_read_are_refused() -> None:
    def odd(body: Body) -> Answer:
        tries = used(body).count("submit")
        if is_skeptic(body) or "propose" not in used(body) or tries > 1:
            return diligent(body)
        given = [
            {"leader": "h6", "claims": [claim(answers(body)["h2"]["observation"])]},
            {"leader": "h2", "claims": [claim("obs_" + "0" * 26)]},
        ][tries]
        return says(("submit", given), number=10 + tries)

    with incident_gate(**READS) as gate:
        gate.think = odd
        work(gate)
        assert ended(gate)[0] == "diagnosed"
        last = results(gate.thought[3])
    assert [one.get("code") for one in last[1:]] == ["tool.input", "tool.input"]


# -- what may happen to it ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        fails(529, "overloaded_error", retry_after="7"),
        fails(429, "rate_limit_error", retry_after="7"),
        fails(500, "api_error"),
        streamed([{"type": "text", "text": "so"}], "", error="overloaded_error"),
    ],
)
def test_an_overload_is_waited_for_and_asked_anew_under_a_fresh_key(answer: Answer) -> None:
    waits = Waits()
    with incident_gate(**READS) as gate:
        gate.think = thinking(lambda n, _: answer if n <= 2 else None)
        work(gate, waits=waits)
        assert ended(gate)[0] == "diagnosed"
        keys = [asked.headers["idempotency-key"] for asked in gate.seen if asked.path.startswith("/llm/")]
    assert len(set(keys)) == len(keys) == 6
    assert all(key.startswith(f"{INCIDENT}.3.") for key in keys)
    assert waits[:2] == ([7.0, 7.0] if "retry-after" in answer.headers else [2.0, 8.0])


def test_a_lasting_overload_ends_the_model_tier_and_the_step_still_ends() -> None:
    with incident_gate(**READS) as gate:
        gate.think = lambda _: fails(529, "overloaded_error")
        work(gate)
        to, body = ended(gate)
    assert (to, body["unchallenged"], len(gate.thought)) == ("inconclusive", "model.overloaded_error", 4)


def test_a_stream_that_breaks_off_on_the_way_is_had_again_under_the_same_key() -> None:
    with incident_gate(**READS) as gate:
        cut: list[str] = []
        known = gate._known

        def once_cut(asked: Any, path: str) -> Answer:
            answer = known(asked, path)
            if (
                path.startswith("/llm/")
                and isinstance(answer.body, list)
                and asked.headers["idempotency-key"] not in cut
            ):
                cut.append(asked.headers["idempotency-key"])
                return Answer(200, answer.body[: len(answer.body) // 2], answer.content_type)
            return answer

        gate._known = once_cut  # type: ignore[method-assign]
        gate.think = diligent
        work(gate)
        assert ended(gate)[0] == "diagnosed"
        assert len(gate.thought) == 4, "what was paid for is not bought again"
        assert len(cut) == 4


@pytest.mark.parametrize(
    ("budget", "code"),
    [
        (Budget(turns=2), "model.budget_turns"),
        (Budget(tokens=250), "model.budget_tokens"),
        (
            Budget(dollars=Decimal("0.002"), price=Price(Decimal(10), Decimal(50))),
            "model.budget_money",
        ),
    ],
)
def test_turns_tokens_and_money_have_an_end(budget: Budget, code: str) -> None:
    with incident_gate(**READS) as gate:
        gate.think = diligent
        work(gate, budget=budget)
        to, body = ended(gate)
    assert (to, body["unchallenged"]) == ("inconclusive", code)
    assert len(gate.thought) < 4


def test_the_prompt_and_every_result_stay_small_and_are_marked_as_untrusted() -> None:
    lines = [{"at": n, "level": "error", "text": "x" * 500} for n in range(2000)]
    with incident_gate(**{**READS, "shop__logs__search": {"lines": lines, "a": "x"}}) as gate:
        gate.think = diligent
        work(gate)
        assert ended(gate)[0] == "diagnosed"
        told = answers(gate.thought[1])["h3"]
        sizes = [len(json.dumps(body["messages"])) for body in gate.thought]
    assert told["untrusted"] is True
    assert told["observation"].startswith("obs_")
    assert max(sizes) < 20_000


def test_a_worker_without_a_model_asks_none() -> None:
    with incident_gate(**READS) as gate:
        gate.think = diligent
        work(gate, model=False)
        to, body = ended(gate)
    assert (to, gate.thought) == ("inconclusive", [])
    assert body["unchallenged"] == "model.not_configured"
