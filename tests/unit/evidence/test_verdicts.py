"""One claim on one observation: operators, what proves nothing, empty, failed and cut-off answers."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.errors import BadRequest
from broker.evidence import Absent, judge_claim, read_claims
from broker.evidence.claims import OPERATORS
from broker.model import ResultStatus
from tests.unit.evidence.speech import LINES, SHOP, START, TEXT, claim, find, observation, verdict

MAX = "$.series[0].points[*] | max"


@pytest.mark.parametrize(
    ("op", "wanted", "said"),
    [
        ("eq", "0.5", "verified"),
        ("eq", "0.50", "verified"),
        ("eq", "0.51", "refuted"),
        ("ne", "0.5", "refuted"),
        ("gt", "0.5", "refuted"),
        ("ge", "0.5", "verified"),
        ("lt", "0.5", "refuted"),
        ("le", "0.5", "verified"),
        ("gt", 0, "verified"),
        ("gt", "much", "op.kind"),
        ("gt", True, "op.kind"),
        ("eq", True, "refuted"),
        ("eq", None, "refuted"),
    ],
)
def test_a_number_is_compared_exactly(op: str, wanted: Any, said: str) -> None:
    assert verdict(SHOP, MAX, op, wanted) == said


def test_there_are_no_surprises_of_floating_point() -> None:
    value = {"a": [0.1, 0.2], "big": 9007199254740993}
    assert verdict(value, "$.a[*] | sum", "eq", "0.3") == "verified"
    assert verdict(value, "$.a[*] | sum", "gt", "0.3") == "refuted"
    assert verdict(value, "$.big", "eq", 9007199254740992) == "refuted"
    assert verdict(value, "$.big", "eq", "9007199254740993") == "verified"


def test_a_tolerance_is_relative_to_the_claimed_value() -> None:
    assert verdict(SHOP, MAX, "eq", "0.52", tolerance="0.05") == "verified"
    assert verdict(SHOP, MAX, "eq", "0.53", tolerance="0.05") == "refuted"
    assert verdict(SHOP, MAX, "ne", "0.52", tolerance="0.05") == "refuted"
    assert verdict(SHOP, MAX, "eq", "0", tolerance="0.2") == "refuted"


def test_texts_are_equal_as_texts_and_numbers_as_numbers() -> None:
    value = {"version": "1.10", "count": 490, "text": "490"}
    assert verdict(value, "$.version", "eq", "1.1") == "refuted"
    assert verdict(value, "$.version", "eq", "1.10") == "verified"
    assert verdict(value, "$.count", "eq", "490") == "verified"
    assert verdict(value, "$.text", "eq", 490) == "verified"
    assert verdict(value, "$.text | number", "eq", "490.0") == "verified"


def test_instants_are_compared_with_any_spelling_of_an_instant() -> None:
    onset = "$.series[0].points[*] | onset"
    assert verdict(SHOP, onset, "eq", START + 45) == "verified"
    assert verdict(SHOP, onset, "eq", "2026-09-21T14:14:05Z") == "verified"
    assert verdict(SHOP, onset, "eq", "2026-09-21T16:14:05+02:00") == "verified"
    assert verdict(SHOP, onset, "lt", "2026-09-21T14:14:05Z") == "refuted"
    assert verdict(SHOP, onset, "ge", "yesterday") == "op.kind"


@pytest.mark.parametrize(
    ("selector", "op", "wanted", "said"),
    [
        ("$.lines[*].text", "contains", "pool exhausted", "verified"),
        ("$.lines[*].text", "contains", "disk full", "refuted"),
        ("$.lines[*].text", "not_contains", "disk full", "verified"),
        ("$.lines[*].text", "matches", r"\d+ of \d+", "verified"),
        ("$.lines[*].text", "matches", r"^retry .* fatal$", "refuted"),
        ("$.lines[*].text", "matches", r"(?=x)", "selector.pattern"),
        ("$.lines[*].level", "contains", "error", "verified"),
        ("$.lines[?level=='fatal']", "absent", None, "verified"),
        ("$.lines[?level=='error']", "absent", None, "refuted"),
        ("$.lines[?level=='error']", "exists", None, "verified"),
        ("$.lines[*].text", "eq", "x", "selector.many"),
        ("$.lines[?level=='fatal'].text", "eq", "x", "selector.none"),
        ("$.matched", "eq", 3, "verified"),
    ],
)
def test_texts_and_existence(selector: str, op: str, wanted: Any, said: str) -> None:
    assert verdict(LINES, selector, op, wanted) == said


@pytest.mark.parametrize(
    ("selector", "op", "wanted"),
    [
        ("$", "exists", None),
        ("text", "exists", None),
        ("lines(/x/) | count", "exists", None),
        ("lines(/x/) | count", "absent", None),
        ("lines(/x/) | count", "ge", 0),
        ("lines(/x/) | count", "gt", "-1"),
        ("text", "contains", ""),
        ("text", "matches", ".*"),
        ("text", "matches", "x?"),
    ],
)
def test_a_claim_that_holds_of_anything_proves_nothing(selector: str, op: str, wanted: Any) -> None:
    assert verdict(TEXT, selector, op, wanted) == "claim.vacuous"


def test_a_misspelt_path_is_not_absence() -> None:
    assert verdict(LINES, "$.lnes[?level=='fatal']", "absent") == "selector.no_path"
    assert verdict(LINES, "$.lines[?lvel=='fatal']", "absent") == "selector.no_path"
    assert verdict(LINES, "$.lines[?levl=='error'] | count", "eq", 0) == "selector.no_path"
    assert verdict(LINES, "$.lines[*].txt", "not_contains", "pool") == "selector.no_path"


def test_empty_is_an_answer() -> None:
    for value in (None, {"lines": []}, {"series": []}):
        assert verdict(value, "$.lines[*]", "absent", status="empty") == "verified"
        assert verdict(value, "$.lines[*] | count", "eq", 0, status="empty") == "verified"
        assert verdict(value, "$.lines[*]", "exists", status="empty") == "refuted"
        assert verdict(value, "$.lines[*].text", "contains", "pool", status="empty") == "refuted"
        assert verdict(value, "$.series[*].points[*] | max", "gt", 0, status="empty") == "selector.none"


@pytest.mark.parametrize(
    ("selector", "op", "wanted"),
    [
        ("$.lines[?level=='fatal']", "absent", None),
        ("$.lines[?level=='fatal']", "exists", None),
        ("$.lines[*] | count", "eq", 3),
        ("$.lines[*] | count", "ge", 1),
        ("$.lines[*].at | max", "eq", START + 50),
        ("$.lines[*].at | last", "eq", START + 50),
        ("$.lines[-1].at", "eq", START + 50),
        ("$.lines[*].text", "not_contains", "disk"),
        ("$.lines[*].text", "contains", "disk"),
        ("$.lines[*].text", "matches", "disk"),
        ("$.matched", "ne", 4),
    ],
)
def test_what_a_cut_off_answer_left_out_could_change_the_verdict(selector: str, op: str, wanted: Any) -> None:
    assert verdict(LINES, selector, op, wanted, status="truncated") == "observation.truncated"
    assert verdict(LINES, selector, op, wanted) in ("verified", "refuted")


def test_what_was_found_in_a_cut_off_answer_was_found() -> None:
    assert verdict(LINES, "$.lines[*].text", "contains", "pool", status="truncated") == "verified"
    assert verdict(LINES, "$.lines[?level=='error']", "exists", status="truncated") == "verified"
    assert verdict(LINES, "$.lines[0].level", "eq", "error", status="truncated") == "verified"
    cut = find(LINES, "$.lines[0].level", "eq", "error", status="truncated", at="$.lines[*].at | last")
    assert (cut.verdict, cut.reason) == ("unverifiable", "observation.truncated")


@pytest.mark.parametrize("code", ["observation.missing", "observation.erased", "observation.foreign"])
def test_an_observation_that_cannot_be_cited_leaves_the_claim_unverifiable(code: str) -> None:
    [read] = read_claims([claim("$", "exists")])
    found = judge_claim(read, Absent(code))
    assert (found.verdict, found.reason, found.actual) == ("unverifiable", code, None)


def test_a_claim_dates_itself_by_a_selector_on_the_same_observation() -> None:
    assert find(SHOP, MAX, "gt", "0.1", at="$.series[0].points[*] | onset(> 0.1)").onset == START + 45
    assert find(LINES, "$.lines[*].text", "contains", "pool", at="$.lines[0].at").onset == START + 40
    assert verdict(LINES, "$.lines[*].text", "contains", "pool", at="$.lines[*].at") == "claim.at"
    assert verdict(LINES, "$.lines[*].text", "contains", "pool", at="$.lines[0].level") == "claim.at"


def test_what_was_found_is_told_with_the_verdict() -> None:
    assert find(SHOP, MAX, "gt", 3).actual == "0.5"
    assert find(LINES, "$.lines[*].text", "contains", "x").actual == {"nodes": 3}
    assert find({"a": 0.25}, "$.a", "eq", "0.3").actual == "0.25"
    assert find(SHOP, "$.series[0].points[*] | onset", "eq", START).actual == "2026-09-21T14:14:05Z"
    assert find({"a": "x" * 900}, "$.a", "eq", "y").actual == "x" * 200 + "…"


@pytest.mark.parametrize(
    "other",
    [
        {"verified": True},
        {"verdict": "verified"},
        {"confidence": "0.99"},
        {"source": "prometheus"},
        {"signal": "metric"},
        {"role": "proof"},
        {"tolerance": "0.5"},
        {"tolerance": "-0.1"},
        {"observation": "act_1"},
        {"op": "like"},
        {"value": ["a"]},
        {"value": 0.5},
        {"text": 5},
    ],
)
def test_the_schema_of_a_claim_is_closed(other: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as refused:
        read_claims([claim(MAX, "eq", "0.5") | other])
    assert refused.value.error_code == "claim.schema"


def test_a_tolerance_goes_with_equality_alone() -> None:
    with pytest.raises(BadRequest):
        read_claims([claim(MAX, "gt", "0.5", tolerance="0.1")])
    assert read_claims([claim(MAX, "eq", "0.5", tolerance="0.1")])[0].tolerance == Decimal("0.1")


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "a", "0.5", "1e400", "2026-09-21T14:14:05Z", "5ms", "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abt"), inner, max_size=3),
    max_leaves=10,
)
SELECTORS = st.sampled_from(
    [
        *("$", "$.a", "$.a[*]", "$[*]", "text", "lines(/a/)", "$.a[?b>1]", '$[?a=="a"].b', "$.a | max", "$[*] | count"),
        *(
            "$.a[*] | last",
            "$[*] | onset",
            "$.a | as(s)",
            "$[*] | time | floor(60)",
            "$ | series(a, b) | rate",
            "$.a[-1]",
        ),
    ]
)
WANTED = st.sampled_from([None, True, 0, -1, 2**53, "", "0.5", "a", "(", ".*", "2026-09-21T14:14:05Z"])


@settings(max_examples=500, deadline=None)
@given(VALUES, SELECTORS, st.sampled_from(OPERATORS), WANTED, st.sampled_from(list(ResultStatus)), st.booleans())
def test_every_claim_on_every_result_has_one_verdict(  # noqa: PLR0917 - one argument a generated part
    value: Any, selector: str, op: str, wanted: Any, status: ResultStatus, dated: bool
) -> None:
    said = claim(selector, op, None if op in ("exists", "absent") else wanted, **({"at": "$.t"} if dated else {}))
    [read] = read_claims([said])
    found = judge_claim(read, observation(value, status.value))
    assert found == judge_claim(read, observation(value, status.value))
    assert found.verdict in ("verified", "refuted", "unverifiable")
    assert (found.verdict == "verified") is (found.reason == "")
    if status is ResultStatus.TRUNCATED and op in ("absent", "not_contains", "ne"):
        assert found.verdict != "verified"


@settings(max_examples=300, deadline=None)
@given(VALUES, SELECTORS, st.sampled_from([("eq", "ne"), ("gt", "le"), ("ge", "lt"), ("exists", "absent")]), WANTED)
def test_a_claim_and_its_opposite_are_never_both_verified(
    value: Any, selector: str, ops: tuple[str, str], wanted: Any
) -> None:
    both = [claim(selector, op, None if op in ("exists", "absent") else wanted) for op in ops]
    verdicts = [judge_claim(one, observation(value)).verdict for one in read_claims(both)]
    assert verdicts.count("verified") <= 1


@pytest.mark.parametrize("factor", ["0.5", "0.9", "1.1", "2"])
@pytest.mark.parametrize("selector", [MAX, "$.series[0].points[*] | sum", "$.series[0].points[3][1]"])
def test_a_falsified_number_is_refused(selector: str, factor: str) -> None:
    actual = Decimal(str(find(SHOP, selector, "eq", "0").actual))
    assert verdict(SHOP, selector, "eq", str(actual)) == "verified"
    assert verdict(SHOP, selector, "eq", str(actual * Decimal(factor)), tolerance="0.05") == "refuted"


def test_a_falsified_service_or_time_or_sign_is_refused() -> None:
    checkout = '$.series[?labels.service=="checkout"].points[*]'
    assert verdict(SHOP, f"{checkout} | max", "gt", "0.1") == "verified"
    assert verdict(SHOP, f"{checkout.replace('checkout', 'payments')} | max", "gt", "0.1") == "refuted"
    assert verdict(SHOP, f"{checkout.replace('checkout', 'ghost')} | max", "gt", "0.1") == "selector.none"
    assert verdict(SHOP, f'{checkout} | until("2026-09-21T14:14:05Z") | max', "gt", "0.1") == "refuted"
    assert verdict(SHOP, f"{checkout} | delta", "gt", 0) == "verified"
    assert verdict(SHOP, f"{checkout} | delta", "lt", 0) == "refuted"
    assert verdict(SHOP, f"{checkout} | rising", "eq", True) == "verified"
    assert verdict(SHOP, f"{checkout} | falling", "eq", True) == "refuted"


@pytest.mark.parametrize("op", ["matches", "eq", "exists", "contains"])
def test_a_number_beyond_the_range_is_a_verdict_not_a_failure(op: str) -> None:
    wanted = None if op == "exists" else "text"
    assert verdict({"x": 1e300}, "$.x", op, wanted) == ("verified" if op == "exists" else "number.range")
