"""Tools that answer nothing, an error, too late, a part, or the contrary: the rules are right or abstain, never wrong, never calm."""

import asyncio
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.rules import Finding, Query, Seen, investigate
from agents.rules.candidates import Weighted
from agents.rules.finding import Candidate
from agents.rules.plan import TELLING
from agents.rules.reading import excerpt
from agents.rules.scope import Scope
from agents.rules.signs import CAUSE, SYMPTOM, Sign
from agents.rules.verdict import Evidence, conclude
from tests.unit.rules.test_investigate import METRIC, leak, passing
from tests.unit.rules.test_investigate import found as told
from tests.unit.rules.views import BEGIN, FAULT_AT, POINTS, STEP, MemoryView, errors, log, repeated, running, shop

Json = Any
KEYS = sorted(leak())
HOW = ("ok", "empty", "error", "late", "truncated", "contrary")
CONTRARY: dict[tuple[str, str, str], Json] = {
    ("local.metrics.range", "payments", METRIC): errors("payments"),
    ("local.metrics.range", "checkout", METRIC): errors("checkout", own=2),
    ("local.logs.search", "payments", ""): log((0, "info", "all is well")),
}
"""One tool against the others. What denies the symptom itself is no contradiction but a noisy alert, and a process that is
said not to run is another fault."""


class PoorView(MemoryView):
    """Answers of which some are bad, each in its way."""

    def __init__(self, how: dict[tuple[str, str, str], str]) -> None:
        super().__init__(shop(), leak())
        self.how = how

    async def read(self, query: Query) -> Seen:
        seen = await super().read(query)
        key = (query.action, query.id, str(query.arguments.get("metric", "")))
        match self.how.get(key, "ok"):
            case "empty":
                return replace(seen, status="empty", value=None)
            case "error":
                return replace(seen, status="error", value={"code": "upstream.failed"}, observation="")
            case "late":
                return replace(seen, status="error", value={"code": "upstream.timeout"}, observation="")
            case "truncated":
                return replace(seen, status="truncated", value=_half(seen.value))
            case "contrary":
                return replace(seen, value=CONTRARY.get(key, seen.value))
            case _:
                return seen


def _half(value: Json) -> Json:
    """The first half of whatever is a list in it."""
    if isinstance(value, dict):
        return {name: _half(one) for name, one in value.items()}
    return value[: (len(value) + 1) // 2] if isinstance(value, list) else value


def found(how: dict[tuple[str, str, str], str]) -> Finding:
    return asyncio.run(investigate(PoorView(how)))


def right_or_open(finding: Finding) -> None:
    assert finding.verdict in {"sure", "abstain"}, finding.why
    if finding.verdict == "sure":
        assert (finding.ranked[0].component, finding.ranked[0].fault) == ("payments", "pool-leak"), finding.why


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("key", KEYS, ids=["/".join(key) for key in KEYS])
def test_one_poor_answer_convicts_nobody_else(key: tuple[str, str, str], how: str) -> None:
    right_or_open(found({key: how}))


@given(st.fixed_dictionaries({key: st.sampled_from(HOW) for key in KEYS}))
@settings(max_examples=60, deadline=None)
def test_whatever_mixture_of_poor_answers_comes_the_rules_are_right_or_abstain(
    how: dict[tuple[str, str, str], str],
) -> None:
    right_or_open(found(how))


@pytest.mark.parametrize("how", ["empty", "error", "late"])
def test_when_nothing_answers_nothing_is_known(how: str) -> None:
    assert found(dict.fromkeys(KEYS, how)).verdict == "abstain"


STATUS = ("local.process.status", "payments", "")
LOG = ("local.logs.search", "payments", "")


def failing(*entries: tuple[int, str, str]) -> dict[tuple[str, str, str], Json]:
    """Payments fails by itself, and says ``entries``."""
    return {**passing(), ("local.metrics.range", "payments", METRIC): errors("payments", own=2), LOG: log(*entries)}


CANNOT = (FAULT_AT + 1, "error", "worker cannot start: see ticket")


def test_a_line_that_something_cannot_start_names_nothing_where_the_state_says_that_it_runs() -> None:
    finding = told({**failing(CANNOT), STATUS: running("payments")})
    assert finding.verdict == "abstain", finding.why
    assert "crash-loop" not in {one.fault for one in finding.ranked}


def test_where_no_state_is_known_the_line_alone_convicts_nobody() -> None:
    finding = told(failing(CANNOT))
    assert finding.verdict == "abstain"
    assert "neither a state nor a metric" in finding.why


def test_a_customers_text_beside_a_leaking_pool_leaves_the_pool_the_cause() -> None:
    lines = leak()[LOG]["lines"]
    said = log(
        *((one["at"], one["level"], one["text"]) for one in lines), (FAULT_AT + 9, "error", "bad note: cannot start: x")
    )
    finding = told({**leak(), LOG: said})
    assert (finding.verdict, finding.ranked[0].component, finding.ranked[0].fault) == ("sure", "payments", "pool-leak")


@pytest.mark.parametrize(("state", "verdict"), [("backoff", "sure"), ("running", "abstain")])
def test_what_ended_by_itself_and_cannot_start_is_a_crash_loop_where_its_state_shows_it(
    state: str, verdict: str
) -> None:
    lines = repeated("cannot start: cache is corrupt: unexpected end")
    status = {**running("payments", state=state), "exits": 1}
    finding = told({**failing(), LOG: lines, STATUS: status})
    assert (finding.verdict, finding.ranked[0].fault) == (verdict, "crash-loop")


def weighted(fault: str, score: int) -> Weighted:
    """A candidate at payments, named by lines and borne out by a metric."""
    claim = {"observation": "obs_1", "selector": "$.a", "op": "exists", "text": "x", "role": "cause"}
    named = Sign("payments", fault, CAUSE, 850, "log", "a", "obs_1", None, claim, "x")
    felt = Sign("payments", "", SYMPTOM, 500, "metric", "b", "obs_2", None, claim, "x", kind="own-errors")
    return Weighted(Candidate("payments", fault, score, [claim]), [named], [felt])


@pytest.mark.parametrize(("other", "verdict"), [(1145, "abstain"), (1144, "sure")])
def test_two_faults_of_one_component_that_are_equally_good_convict_neither(other: int, verdict: str) -> None:
    evidence = Evidence(Scope(shop()), [], [], [], frozenset({"log", "metric"}), [], [], resolved=False)
    said, why = conclude([weighted("lock-hang", 1145), weighted("pool-leak", other)], evidence)
    assert said == verdict, why


ODD: list[Json] = [
    {"commits": [{"commit": "c0ffee", "at": FAULT_AT - 60, "subject": "tidy", "files": 3}]},
    {"commits": [{"commit": "c0ffee", "at": FAULT_AT - 60, "subject": "tidy", "paths": True}]},
    {"model": {"dimensions": 1536}, "rows": [{"dimensions": True, "points": [[FAULT_AT, "1"]]}]},
    {"at": float("inf"), "text": "payments"},
    {"name": "shop_errors_total", "points": [[FAULT_AT + place, f"1e{300 + place}"] for place in range(20)]},
]


@pytest.mark.parametrize("odd", ODD, ids=["files", "paths", "dimensions", "endless", "huge"])
@pytest.mark.parametrize("action", ["local.logs.search", "local.schema.compare", "git.history.list"])
def test_an_answer_of_an_unforeseen_shape_does_not_end_the_investigation(action: str, odd: Json) -> None:
    place = "shop-config" if action == "git.history.list" else "inventory"
    finding = told({**leak(), (action, place, ""): odd})
    assert (finding.verdict, finding.ranked[0].component, finding.ranked[0].fault) == ("sure", "payments", "pool-leak")


def test_what_cannot_be_read_is_an_error_and_no_part_of_it_is_used() -> None:
    lines = [*leak()[LOG]["lines"], {"at": float("inf"), "level": "error", "text": "connection pool exhausted"}]
    finding = told({**leak(), LOG: {"lines": lines}})
    assert finding.verdict == "abstain"
    assert any("local.logs.search on payments: error" in one and "OverflowError" in one for one in finding.checked)
    assert "pool-leak" not in {one.fault for one in finding.ranked}


def growing(usual: float, then: float) -> list[list[Json]]:
    """A counter's points: ``usual`` a step, ``then`` from the fault on."""
    total, points = 0.0, []
    for place in range(POINTS):
        at = BEGIN + place * STEP
        total += then if at >= FAULT_AT else usual
        points.append([at, f"{total:g}"])
    return points


def traffic(*told: tuple[str, float, float]) -> dict[tuple[str, str, str], Json]:
    """One stray line, and what payments measures."""
    rows = [
        {"labels": {"__name__": name, "service": "payments"}, "points": growing(usual, then)}
        for name, usual, then in told
    ]
    return {
        LOG: log((FAULT_AT + 1, "error", "connection pool exhausted")),
        STATUS: running("payments"),
        ("local.metrics.range", "payments", METRIC): {"series": rows},
    }


COUNT, SUM, SERVED = "http_request_duration_seconds_count", "http_request_duration_seconds_sum", "shop_requests_total"


@pytest.mark.parametrize(
    "told_",
    [
        [(COUNT, 10, 40)],
        [("http_request_duration_seconds_bucket", 10, 40)],
        [(SUM, 1, 4), (COUNT, 10, 40)],
        [(SUM, 1, 4), (SERVED, 10, 40)],
        [(SUM, 1, 4)],
    ],
    ids=["count", "bucket", "sum and count", "sum and requests", "a sum of which nobody counted the parts"],
)
def test_more_traffic_is_no_latency_and_convicts_nobody(told_: list[tuple[str, float, float]]) -> None:
    finding = told(traffic(*told_))
    assert finding.verdict == "abstain", finding.why
    assert "one signal" in finding.why


@pytest.mark.parametrize("served", [COUNT, SERVED])
def test_what_takes_longer_for_each_is_latency(served: str) -> None:
    finding = told(traffic((SUM, 1, 4), (served, 10, 10)))
    assert finding.verdict == "sure", finding.why
    assert any("_sum grows" in one["text"] or "_sum counts up" in one["text"] for one in finding.ranked[0].claims)


def test_a_log_that_is_searched_twice_counts_once() -> None:
    def weight(more: dict[tuple[str, str, str], Json]) -> int:
        finding = told(leak() | more)
        assert finding.ranked[0].fault == "pool-leak"
        return finding.ranked[0].score_milli

    again = {("logs.lines.search", "payments", ""): leak()["local.logs.search", "payments", ""]}
    assert weight(again) == weight({})


def test_a_metric_server_is_not_asked_for_histograms() -> None:
    assert not [name for name in (COUNT, SUM, f"{SUM[:-4]}_bucket") if re.fullmatch(TELLING, name)]
    assert re.fullmatch(TELLING, "http_request_duration_seconds")


@pytest.mark.parametrize("before", range(100, 170))
@pytest.mark.parametrize("gap", [" ", ""])
def test_a_quotation_is_never_cut_within_a_pseudonym(before: int, gap: str) -> None:
    text = f"{'x ' * 90}"[:before].strip() + f' "email":{gap}"EMAIL_YM6GMK4JFWQG@example.org", "code": 502, "order": 17'
    quoted = excerpt(text)
    assert text.startswith(quoted)
    assert len(quoted) <= 160
    assert re.sub(r"EMAIL_YM6GMK4JFWQG@example\.org", "", quoted).find("EMAIL") < 0
    assert len(quoted) >= 160 - len("EMAIL_YM6GMK4JFWQG@example.org") - 1
