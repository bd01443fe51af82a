"""From judged claims to a diagnosis: what is needed, what forbids it, what counts as independent."""

from typing import Any

import pytest

from broker.evidence import Judged, Observation, Symptom, judge_claim, read_claims
from broker.evidence.claims import Cause, RuledOut
from broker.evidence.confidence import FEATURES, confidence_milli, features, read, weights
from broker.evidence.diagnosis import MISSING, SLACK_S, Weighed, weigh
from broker.evidence.independence import metric_words, sources
from broker.evidence.prose import backed
from broker.evidence.telling import Worth
from broker.topology import Component, Graph
from tests.unit.evidence.speech import SHOP, START, claim, judged, observation

NAMES = ("storefront", "checkout", "payments", "island")
GRAPH = Graph(
    {name: Component(name, "prod", "process", ()) for name in NAMES},
    {"storefront": ("checkout",), "checkout": ("payments",)},
    {"checkout": ("storefront",), "payments": ("checkout",)},
)
CAUSE = Cause("checkout", "bad_config")
TWO = (judged(source="a", signal="metric"), judged("gt", "0.2", source="b", signal="change"))


def weighed(
    *claims: Judged, component: str = "checkout", ruled_out: tuple[RuledOut, ...] = (), symptom: Symptom | None = None
) -> Weighed:
    said = symptom or Symptom("storefront")
    return weigh(Cause(component, "bad_config"), claims, ruled_out, GRAPH, said)


def test_two_verified_claims_of_independent_sources_and_kinds_make_a_diagnosis() -> None:
    found = weighed(*TWO)
    assert (found.verdict, found.missing) == ("diagnosed", ())
    assert (found.verified, found.sources, found.signals) == (2, 2, 2)


@pytest.mark.parametrize(
    ("claims", "missing"),
    [
        (
            (),
            {
                "evidence.no_claims",
                "evidence.few_verified",
                "evidence.no_cause",
                "evidence.one_source",
                "evidence.one_signal",
            },
        ),
        (TWO[:1], {"evidence.few_verified", "evidence.one_source", "evidence.one_signal"}),
        ((TWO[0], TWO[0]), {"evidence.few_verified", "evidence.one_source", "evidence.one_signal"}),
        ((TWO[0], judged("gt", "0.2", source="a", signal="log")), {"evidence.one_source"}),
        ((TWO[0], judged("lt", "9")), {"evidence.few_verified", "evidence.one_source", "evidence.one_signal"}),
        ((TWO[0], judged("gt", "0.2", source="b", signal="metric")), {"evidence.one_signal"}),
        # What says nothing does not count, nor what is about somebody else.
        (
            (TWO[0], judged(source="b", signal="change", idle="claim.true_before")),
            {"evidence.few_verified", "evidence.idle", "evidence.one_source", "evidence.one_signal"},
        ),
        (
            (TWO[0], judged(source="b", signal="change", about=frozenset({"payments"}))),
            {"evidence.few_verified", "evidence.not_about", "evidence.one_source", "evidence.one_signal"},
        ),
        (
            (TWO[0], judged(source="b", signal="change", about=frozenset())),
            {"evidence.few_verified", "evidence.not_about", "evidence.one_source", "evidence.one_signal"},
        ),
        ((*TWO, judged("gt", 9, role="cause")), {"evidence.cause_refuted"}),
        ((*TWO, judged("gt", 9, role="prediction")), {"evidence.prediction_refuted"}),
        (
            (judged(role="symptom"), judged("gt", "0.2", source="b", signal="log", role="symptom")),
            {"evidence.no_cause"},
        ),
        (
            (TWO[0], judged("gt", "0.2", source="b", signal="log", role="context")),
            {"evidence.few_verified", "evidence.one_source", "evidence.one_signal"},
        ),
    ],
)
def test_less_is_inconclusive_and_says_what_is_missing(claims: tuple[Judged, ...], missing: set[str]) -> None:
    found = weighed(*claims)
    assert (found.verdict, set(found.missing)) == ("inconclusive", missing)
    assert missing <= MISSING.keys()


def test_what_a_person_excluded_is_no_diagnosis_however_well_it_is_proven() -> None:
    found = weigh(CAUSE, TWO, (), GRAPH, Symptom("storefront"), excluded=True)
    assert (found.verdict, found.missing) == ("inconclusive", ("evidence.excluded",))
    assert "evidence.excluded" in MISSING


@pytest.mark.parametrize("role", ["symptom", "context"])
def test_a_false_claim_beside_the_cause_is_shown_and_does_not_decide(role: str) -> None:
    found = weighed(*TWO, judged("gt", 9, role=role))
    assert (found.verdict, found.refuted) == ("diagnosed", 1)


def late(from_: int, to: int, **other: Any) -> Judged:
    """What the gate saw begin between two seconds after the start."""
    return judged(source="late", began=(START + from_, START + to), **other)


def test_the_cause_does_not_surely_begin_after_the_symptom() -> None:
    beside = judged("gt", "0.2", source="b", signal="change")
    begins = late(30, 45)
    for at, missing in ((45, ()), (30 - SLACK_S, ()), (29 - SLACK_S, ("evidence.cause_after_symptom",))):
        assert weighed(begins, beside, symptom=Symptom("storefront", START + at)).missing == missing
    assert weighed(begins, beside, symptom=Symptom("storefront")).verdict == "diagnosed"


def test_an_instant_that_the_agent_names_excuses_no_cause_that_began_late() -> None:
    begins = late(500, 515, at="$.series[0].points[0][0]")
    beside = judged("gt", "0.2", source="b", signal="change", at="$.series[0].points[0][0]")
    assert begins.finding.onset == START
    found = weighed(begins, beside, symptom=Symptom("storefront", START))
    assert found.missing == ("evidence.cause_after_symptom",)


def test_an_early_claim_excuses_no_cause_that_began_late_and_what_is_predicted_may_come_later() -> None:
    early = judged("gt", "0.2", source="early", signal="change", began=(START - 900, START - 900))
    symptom = Symptom("storefront", START)
    assert weighed(early, late(500, 515), symptom=symptom).missing == ("evidence.cause_after_symptom",)
    assert weighed(early, late(500, 515, role="prediction"), symptom=symptom).verdict == "diagnosed"
    foretold = judged("gt", "0.2", role="prediction", source="early", signal="change", began=early.worth.began)
    assert weighed(foretold, late(500, 515), symptom=symptom).missing == ("evidence.cause_after_symptom",)


def test_a_claim_that_counts_for_nothing_excuses_no_cause_that_began_late() -> None:
    early = judged(source="early", signal="log", began=(START - 900, START - 900), idle="claim.not_trouble")
    found = weighed(
        late(500, 515), judged("gt", "0.2", source="b", signal="change"), early, symptom=Symptom("storefront", START)
    )
    assert found.missing == ("evidence.cause_after_symptom",)


def test_a_symptom_that_a_claim_dates_counts_even_if_the_alert_came_later() -> None:
    early = judged("gt", "0.2", role="symptom", source="b", signal="log", at="$.series[0].points[0][0]")
    found = weighed(late(200, 215), early, symptom=Symptom("storefront", START + 500))
    assert found.missing == ("evidence.cause_after_symptom",)


def test_a_symptom_that_a_claim_dates_late_does_not_excuse_a_cause_after_the_alert() -> None:
    later = judged("gt", "0.2", role="symptom", source="b", signal="log", at="$.series[0].points[*] | at_last")
    found = weighed(late(200, 215), later, symptom=Symptom("storefront", START))
    assert found.missing == ("evidence.cause_after_symptom",)


@pytest.mark.parametrize(
    ("component", "service", "reaches"),
    [
        ("payments", "storefront", True),
        ("storefront", "storefront", True),
        ("unheard-of", "unheard-of", True),
        ("storefront", "payments", False),
        ("island", "storefront", False),
        ("unheard-of", "storefront", False),
    ],
)
def test_a_fault_travels_along_the_dependencies(component: str, service: str, reaches: bool) -> None:
    found = weighed(*TWO, component=component, symptom=Symptom(service))
    assert found.missing == (() if reaches else ("evidence.no_path",))


# -- independence ---------------------------------------------------------------------------------------------------


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    one, other = dict(one), dict(other)
    about = [frozenset(given.pop("about", ("checkout",))) for given in (one, other)]
    rows = [frozenset(given.pop("rows", ())) for given in (one, other)]
    left = observation({"a": 1}, **({"id": "obs_1", "digest": "x"} | one))
    right = observation({"a": 2}, **({"id": "obs_2", "digest": "y"} | other))
    named = sources([(left, about[0], rows[0]), (right, about[1], rows[1])])
    return named[0] == named[1]


def prom(query: str, **more: Any) -> dict[str, Any]:
    place = {"type": "prometheus", "id": "main", "env": "prod"}
    apart: dict[str, Any] = {name: more.pop(name) for name in ("about", "rows") if name in more}
    return {"resource": place, "arguments": {"query": query, **more}, **apart}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {}),
        ({"arguments": {"since_s": 1}}, {"arguments": {"since_s": 2, "lines_max": 10, "pattern": "x"}}),
        (prom('errors{service="checkout"}'), prom('errors{service="checkout"}', step_s=5)),
        (prom('rate(errors{service="checkout"}[5m])'), prom('sum by (code) (errors{service="checkout"}) > 0')),
        (prom('rate(errors{a="1",b="2"}[1m])'), prom('errors{b="2", a="1"}')),
        # Needless matchers, arguments in another order and other windows make no second source.
        (prom('errors{service="checkout"}'), prom('errors{service="checkout",env="prod",code=~".+"}')),
        (prom("sum(rate(errors_total[5m]))"), prom("max_over_time(errors_total[1h])")),
        ({"arguments": {"metric": "errors", "labels": {"a": "1"}}}, {"arguments": {"metric": "errors", "step_s": 9}}),
        (
            {"signal": "state", "arguments": {"kinds": ["a", "b"], "since_s": 1}},
            {"signal": "state", "arguments": {"kinds": ["b", "a"]}},
        ),
        # Another spelling of a metric's name is no other metric: the rows say which; what nothing names may be any.
        (prom('{__name__=~"err.+"}', rows=("errors",)), prom('{__name__=~"erro.+"}', rows=("errors",))),
        (prom('{__name__=~"err.+"}', rows=("errors_total",)), prom("errors")),
        (prom('rate({__name__=~"err.+"}[1m])'), prom('rate({__name__=~"erro.+"}[1m])')),
        (prom('rate({__name__=~"err.+"}[1m])'), prom("errors")),
        # One metric more in a query makes no other source of it.
        (prom("errors"), prom("errors + 0 * up")),
        (prom("rate(errors_total[5m]) / rate(requests_total[5m])"), prom("errors_total")),
        (prom("errors + 0 * up"), prom("errors - 0 * node_load1")),
        (
            {"arguments": {"metric": "errors"}},
            prom("errors and on() up", about=("checkout",))
            | {"resource": {"type": "process", "id": "checkout", "env": "prod"}},
        ),
        # Whoever reads a component's log, and whatever is searched in it: it is one log.
        (
            {"signal": "log", "connector": "local", "arguments": {"pattern": "x"}},
            {"signal": "log", "connector": "logs", "resource": {"type": "logs", "id": "checkout", "env": "prod"}},
        ),
        (
            {"resource": {"type": "p", "id": "a"}, "digest": "same"},
            {"resource": {"type": "p", "id": "b"}, "digest": "same"},
        ),
    ],
)
def test_the_same_question_or_answer_is_one_source(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert same(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"signal": "metric"}, {"signal": "log"}),
        ({"signal": "log"}, {"signal": "log", "about": ("payments",)}),
        ({"resource": {"type": "p", "id": "a"}}, {"resource": {"type": "p", "id": "b"}}),
        (
            {"resource": {"type": "p", "id": "a", "env": "prod"}},
            {"resource": {"type": "p", "id": "a", "env": "staging"}},
        ),
        (prom('errors{service="checkout"}'), prom('errors{service="payments"}', about=("payments",))),
        (prom("errors"), prom("latency")),
        (prom('{job="shop"}', rows=("errors",)), prom('{job="shop"}', rows=("latency",))),
        ({"arguments": {"metric": "errors"}}, {"arguments": {"metric": "latency"}}),
        ({"signal": "metric", "digest": "same"}, {"signal": "log", "digest": "same"}),
    ],
)
def test_another_place_kind_or_series_is_another_source(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert not same(one, other)


def test_the_same_observation_cited_twice_is_one_source() -> None:
    seen: Observation = observation(SHOP)
    assert len(set(sources([(seen, frozenset({name}), frozenset()) for name in "ab"]))) == 1


def test_what_joins_two_sources_later_makes_them_one() -> None:
    one, two, both = (observation({}, id=f"obs_{n}", digest=digest) for n, digest in enumerate(("x", "y", "y")))
    cited = [(seen, frozenset({name}), frozenset[str]()) for seen, name in zip((one, two, both), "aba", strict=True)]
    assert len(set(sources(cited[:2]))) == 2
    assert len(set(sources(cited))) == 1


def test_a_query_of_two_metrics_makes_no_third_source_and_takes_none_away() -> None:
    asked = ("errors + latency", "errors", "latency", "errors + 0 * up")
    cited = [
        (observation({}, id=f"obs_{n}", digest=str(n), **prom(query)), frozenset({"checkout"}), frozenset[str]())
        for n, query in enumerate(asked)
    ]
    both, errors, latency, more = sources(cited)
    assert len({both, errors, latency, more}) == 2
    assert errors == more != latency
    assert both in {errors, latency}


def test_functions_and_windows_of_a_query_are_left_out() -> None:
    query = 'histogram_quantile(0.99, sum by (le) (rate(http_seconds_bucket{service="checkout",code!~"5.."}[5m]))) > 2'
    assert metric_words(query) == ["http_seconds_bucket"]
    assert metric_words('{__name__="errors",service="a"}') == ["errors"]


# -- confidence -----------------------------------------------------------------------------------------------------


def test_confidence_grows_with_evidence_and_never_leaves_its_range() -> None:
    three = (*TWO, judged("gt", "0.3", source="c", signal="log"))
    none, one, two, more = (confidence_milli(weighed(*claims)) for claims in ((), TWO[:1], TWO, three))
    assert 0 == none <= one < two < more <= 1000
    assert one <= weights().inconclusive_max_milli


def test_every_feature_moves_confidence_its_own_way() -> None:
    base = confidence_milli(weighed(*TWO))
    rival = RuledOut("payments", "down", (0,))
    assert confidence_milli(weighed(*TWO, ruled_out=(rival,))) > base
    assert confidence_milli(weighed(*TWO, ruled_out=(RuledOut("payments", "down", ()),))) == base
    assert confidence_milli(weighed(*TWO), 1000) > base > confidence_milli(weighed(*TWO), 0)
    assert confidence_milli(weighed(*TWO, judged("gt", 9, role="context"))) < base
    assert set(features(weighed(*TWO), None)) == set(FEATURES)


def test_a_rival_is_out_only_if_every_claim_against_it_is_verified() -> None:
    false = judged("gt", 9, role="context")
    found = weighed(*TWO, false, ruled_out=(RuledOut("payments", "b", (0, 2)), RuledOut("payments", "c", (0, 1))))
    assert (found.rivals_out, found.rivals_claimed) == (1, 2)


def test_rivals_count_once_a_claim_and_only_by_what_is_about_them() -> None:
    payments = judged(role="context", source="p", about=frozenset({"payments"}))
    trivial = judged(role="context", source="t", about=frozenset({"payments"}), idle="claim.existence")
    claims = (*TWO, payments, trivial)

    def out(*rivals: RuledOut) -> int:
        return weighed(*claims, ruled_out=rivals).rivals_out

    assert out(RuledOut("payments", "x", (2,))) == 1
    assert out(RuledOut("payments", "x", (2,)), RuledOut("payments", "y", (2,))) == 1, "one claim, one rival"
    assert out(RuledOut("payments", "x", (2,)), RuledOut("island", "x", (2,))) == 1, "it is not about the island"
    assert out(RuledOut("payments", "x", (0,)), RuledOut("island", "x", (0,))) == 2, "it is about both"
    assert out(RuledOut("payments", "x", (3,))) == 0, "it says nothing"
    assert out(RuledOut("checkout", "bad_config", (0,))) == 0, "it is the cause itself"


def test_weights_that_would_punish_evidence_are_not_loaded() -> None:
    from pathlib import Path

    import broker.evidence.confidence as room

    text = (Path(room.__file__).parent / "confidence.json").read_text()
    read(text)
    with pytest.raises(ValueError, match="signals"):
        read(text.replace('"signals": ', '"signals": -'))


# -- prose ----------------------------------------------------------------------------------------------------------


def told(**fields: Any) -> dict[str, Any]:
    return claim("$.a", "eq", "0.5") | {"verdict": "verified", "actual": "0.498", "onset": START} | fields


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("the rate was 0.5", "the rate was 0.5"),
        ("it rose to 0.50 of all", "it rose to 0.50 of all"),
        ("the rate was 0.6", "the rate was […]"),
        ("checkout-1 failed 12 times", "checkout-1 failed […] times"),
        ("since 14:13:20Z", "since 14:13:20Z"),
        ("since 14:20Z", "since […]Z"),
        ("at 2026-09-21T14:13:20Z", "at 2026-09-21T14:13:20Z"),
        ("1,000,000 users", "[…] users"),
        ("no figure at all", "no figure at all"),
        ("10.0.0.1 answered 5xx since commit 3f0bdc9, v1.2.3", "10.0.0.1 answered 5xx since commit 3f0bdc9, v1.2.3"),
        ("after 250ms", "after […]ms"),
    ],
)
def test_prose_shows_figures_only_through_verified_claims(text: str, shown: str) -> None:
    assert backed(text, [told()]) == shown
    assert "0.5" not in backed("0.5", [told(verdict="refuted")])
    assert backed("0.5 at 14:13Z", []) == "[…] at […]Z"


def test_the_cause_is_named_by_the_submission_alone() -> None:
    assert CAUSE.as_json() == {"component": "checkout", "fault": "bad_config", "summary": ""}


def test_one_statement_spelled_in_several_ways_is_one_statement() -> None:
    spelled = [
        Judged(one, judge_claim(one, observation({"state": 5})), "a", "metric", frozenset({"checkout"}), Worth())
        for one in read_claims(
            [
                claim(selector, "eq", value)
                for selector, value in (("$.state", 5), ('$["state"]', 5), (" $ .state", "5"), ("$['state']", "5.0"))
            ]
        )
    ]
    assert all(one.verified for one in spelled)
    assert weighed(*spelled).verified == 1


def test_one_thing_that_was_read_counts_once_whatever_is_computed_from_it() -> None:
    again = [
        judged("gt", "0.2", selector=f"$.series[0].points[*] | {stage}") for stage in ("max", "last", "p99", "delta")
    ]
    assert weighed(*again).verified == 1
