"""The selector language: what each source and stage gives, and the code for what it cannot."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from broker.evidence.evaluate import Point
from broker.evidence.quantities import Instant, Unverifiable, measure, plain
from broker.evidence.stages import evaluate
from broker.evidence.syntax import STAGES, parse
from tests.unit.evidence.speech import LINES, SHOP, START, TEXT

POLICIES = Path(__file__).resolve().parents[3] / "policies"
CHECKOUT = '$.series[?labels.service=="checkout"].points[*]'


def select(value: Any, selector: str) -> list[Any]:
    return evaluate(parse(selector), value)


def code(value: Any, selector: str) -> str:
    with pytest.raises(Unverifiable) as refused:
        select(value, selector)
    return refused.value.code


@pytest.mark.parametrize(
    ("selector", "nodes"),
    [
        (f"{CHECKOUT}[1] | max", ["0.5"]),
        (f"{CHECKOUT} | max", ["0.5"]),
        (f"{CHECKOUT} | min", ["0.01"]),
        (f"{CHECKOUT} | sum", ["1.44"]),
        (f"{CHECKOUT} | avg", ["0.24"]),
        (f"{CHECKOUT} | median", ["0.21"]),
        (f"{CHECKOUT} | p50", ["0.02"]),
        (f"{CHECKOUT} | p95", ["0.5"]),
        (f"{CHECKOUT} | delta", ["0.49"]),
        (f"{CHECKOUT} | ratio", ["50"]),
        (f"{CHECKOUT} | span", ["75"]),
        (f"{CHECKOUT} | where(>= 0.4) | count", ["3"]),
        ("$.series[*].points[*] | count", ["12"]),
        ("$.series[0].points[-1][1]", ["0.5"]),
        ("$.series[0].points[0:2] | count", ["2"]),
        ("$.series[*].labels.service | distinct | count", ["2"]),
        ("$.series[*].labels.service | length | sum", ["16"]),
        ('$.series[?labels.service=="ghost"] | count', ["0"]),
        ("$.series[?labels['service']~/^pay/].points[*] | max", ["0"]),
        ('$.series[?labels.code=="500" && !labels.service=="payments"].points[*] | max', ["0.5"]),
        ('$.series[?(labels.service=="x" || labels.service=="checkout") && points[0]].points[*] | max', ["0.5"]),
    ],
)
def test_a_selector_over_series_gives_numbers(selector: str, nodes: list[str]) -> None:
    assert [plain(Decimal(str(one))) for one in select(SHOP, selector)] == nodes


@pytest.mark.parametrize(
    ("selector", "nodes"),
    [
        (r"lines(/Reason:\s+(\w+)/)", ["CrashLoopBackOff", "OOMKilled"]),
        (r"lines(/Reason:\s+(\w+)/) | last", ["OOMKilled"]),
        (r"lines(/Exit Code/) | count", [Decimal(1)]),
        (r"lines(/completed in ([0-9.]+) seconds/) | number | max", [Decimal("8.01")]),
        (r"lines(/memory:\s+(\S+)/) | as(MiB)", [Decimal(128)]),
        (r"text | lines(/a\/b/) | count", [Decimal(0)]),
        ("text | length", [Decimal(len(TEXT))]),
    ],
)
def test_a_selector_over_text_gives_lines_and_groups(selector: str, nodes: list[Any]) -> None:
    assert select(TEXT, selector) == nodes
    assert select({"text": TEXT}, selector) == nodes
    assert select([TEXT], selector) == nodes


def test_instants_come_from_points_lines_and_parallel_arrays() -> None:
    def at(offset: int) -> Instant:
        return Instant(Decimal(START + offset))

    assert select(SHOP, f"{CHECKOUT} | onset") == [at(45)]
    assert select(SHOP, f"{CHECKOUT} | onset(> 0.015)") == [at(30)]
    assert select(SHOP, f"{CHECKOUT} | at_max") == [at(60)]
    assert select(SHOP, f'{CHECKOUT} | since("{at(45)}") | at_first') == [at(45)]
    assert select(SHOP, f"{CHECKOUT} | until({START + 30}) | count") == [Decimal(2)]
    assert select(LINES, '$.lines[?level=="error"] | series(at, text) | at_first') == [at(40)]
    assert select(LINES, "$.lines[?text~/pool/] | series(at, level) | times | [1]") == [at(50)]
    parallel = {"times": ["2026-03-26T11:20:00Z", "2026-03-26T11:21:00Z"], "values": [1, 2.5]}
    assert select(parallel, "$ | series(times[*], values[*]) | rate") == [Decimal("0.025")]
    assert [str(one) for one in select(parallel, "$.times[*] | time | floor(3600) | distinct")] == [
        "2026-03-26T11:00:00Z"
    ]


def test_a_flat_or_noisy_series_has_no_onset_and_a_ramp_has_one() -> None:
    def series(*values: Any) -> dict[str, Any]:
        return {"points": [[START + at, value] for at, value in enumerate(values)]}

    assert select(series(5, 5, 5, 5, 5), "$.points[*] | onset") == []
    assert select(series(5, 6, 5, 6, 5, 6, 5, 6), "$.points[*] | onset") == []
    assert select(series(*range(0, 100, 5)), "$.points[*] | onset") == [Instant(Decimal(START + 4))]
    assert code(series(1, 2), "$.points[*] | onset") == "selector.few_points"


def test_numbers_are_exact() -> None:
    assert select({"a": [0.1, 0.2, 0.3]}, "$.a[*] | sum") == [Decimal("0.6")]
    assert select({"a": [0.1, 0.2]}, "$.a[*] | delta") == [Decimal("0.1")]
    assert select({"a": [1e22, 1, -1e22]}, "$.a[*] | sum") == [Decimal(1)]
    assert select({"a": [1, 3]}, "$.a[*] | ratio") == [Decimal(3)]
    assert select({"a": [3, 1]}, "$.a[*] | ratio") == [Decimal("0.3333333333333333333333333333")]
    assert code({"a": [0, 1]}, "$.a[*] | ratio") == "number.zero"


@pytest.mark.parametrize(
    ("text", "unit", "bare", "number"),
    [
        ("250ms", "s", "", "0.25"),
        ("1m30s", "s", "", "90"),
        ("1.5 GiB", "MiB", "", "1536"),
        ("1,024 kB", "B", "", "1024000"),
        ("17 %", "share", "", "0.17"),
        ("250mcpu", "cpu", "", "0.25"),
        (0.0214, "ms", "s", "21.4"),
        ("512", "KiB", "B", "0.5"),
    ],
)
def test_units_are_converted_where_the_selector_says_so(text: Any, unit: str, bare: str, number: str) -> None:
    assert measure(text, unit, bare) == Decimal(number)


@pytest.mark.parametrize(
    ("value", "selector", "wanted"),
    [
        ("12", "$ | as(s)", "unit.none"),
        ("12 apples", "$ | as(s)", "unit.text"),
        ("12MB", "$ | as(s)", "unit.dimension"),
        ("12s", "$ | as(fathom)", "unit.unknown"),
        ("1MB2KB", "$ | as(B)", "unit.text"),
        (SHOP, "$.serie[*]", "selector.no_path"),
        (SHOP, '$.series[?lables.service=="checkout"]', "selector.no_path"),
        (SHOP, "$.series[*].labels | max", "selector.not_number"),
        (SHOP, "$.series | count", "selector.array"),
        (SHOP, "$.series[*].points[*] | onset", "selector.order"),
        (SHOP, "$.series[5].points[*] | max", "selector.none"),
        (SHOP, "text", "selector.not_text"),
        (SHOP, "lines(/x/)", "selector.not_text"),
        (LINES, "$.lines[*].text | first | time", "selector.not_instant"),
        ({"a": "NaN"}, "$.a | max", "selector.not_number"),
        ({"a": True}, "$.a | sum", "selector.not_number"),
        ({"a": "9" * 41}, "$.a | max", "selector.not_number"),
        ({"a": "1e99"}, "$.a | max", "number.range"),
        (SHOP, "series", "selector.syntax"),
        (SHOP, "$.series[", "selector.syntax"),
        (SHOP, "$.series | frobnicate", "selector.stage"),
        (SHOP, "$.series | max(1)", "selector.arguments"),
        (SHOP, "$.series | lines", "selector.arguments"),
        (SHOP, "lines(/(a)(b)/)", "selector.groups"),
        (SHOP, "lines(/(?=a)/)", "selector.pattern"),
        (SHOP, "$" + "[*]" * 40, "selector.size"),
        (SHOP, "$.series" + " | count" * 9, "selector.size"),
        (SHOP, "$." + "a" * 600, "selector.size"),
    ],
)
def test_what_cannot_be_selected_says_why(value: Any, selector: str, wanted: str) -> None:
    assert code(value, selector) == wanted


def test_work_is_bounded() -> None:
    assert code([0] * 60_000, "$[*]") == "selector.nodes"
    assert code({"a": [[0] * 500] * 500}, "$.a[*][*] | count") == "selector.steps"
    assert code("ab\n" * 300_000, "lines(/q/) | count") == "selector.steps"
    assert select("x" * 100_000 + "needle", "lines(/needle/) | count") == [Decimal(1)]


def shipped() -> list[str]:
    """Every selector in the manifests and the configuration of the policy bundle."""
    found: list[str] = []

    def look(value: Any) -> None:
        if isinstance(value, dict):
            found.extend(str(value[key]) for key in ("selector", "at") if isinstance(value.get(key), str))
            value = list(value.values())
        for child in value if isinstance(value, list) else []:
            look(child)

    for path in [*POLICIES.glob("manifests/*.yaml"), *POLICIES.glob("config/*/data.yaml")]:
        look(yaml.safe_load(path.read_text(encoding="utf-8")))
    return sorted(set(found))


def test_every_selector_that_ships_is_one() -> None:
    assert shipped()
    for selector in shipped():
        parse(selector)


def test_every_read_of_a_target_says_what_kind_of_evidence_it_is_or_that_it_is_none() -> None:
    silent = []
    for path in POLICIES.glob("manifests/*.yaml"):
        manifest = yaml.safe_load(path.read_text(encoding="utf-8"))
        for name, action in manifest["actions"].items():
            if action["effect"] == "read" and not action.get("result", {}).get("signal"):
                silent.append(name)
    assert {name.partition(".")[0] for name in silent} <= {"gate", "llm", "tickets", "notify", "workstation"}, silent


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["1", "0.5", "2026-03-26T11:20:00Z", "5ms"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)
PIECES = st.sampled_from(
    ["$", ".a", ".b", "[*]", "[0]", "[-1]", "[0:2]", "[?a]", "[?a>1]", '[?a=="x"]', "[?@~/x/]", "[?!b || a<=2]"]
)
ARGUMENTS = {
    "pattern": "/(.)/",
    "condition": "> 0",
    "path": "a",
    "instant": '"2026-03-26T11:20:00Z"',
    "number": "2",
    "unit": "s",
}
STAGE = st.sampled_from(
    [
        f"{name}({', '.join(ARGUMENTS[kind] for kind in shape)})" if shape else name
        for name, shapes in STAGES.items()
        for shape in shapes
    ]
)


@settings(max_examples=400, deadline=None)
@given(JSON, st.lists(PIECES, max_size=4), st.lists(STAGE, max_size=3))
@example([-9_223_372_036_854_775_809], [], ["distinct"])
def test_evaluation_is_total_and_deterministic(value: Any, path: list[str], stages: list[str]) -> None:
    selector = " | ".join(["$" + "".join(path).replace("$", ""), *stages])

    def run() -> Any:
        try:
            return repr(select(value, selector))
        except Unverifiable as reason:
            return reason.code

    assert run() == run()


@settings(max_examples=400, deadline=None)
@given(st.text(alphabet="$.[]*?()|<>=!~@,:\"'/\\ab01 \n", max_size=40) | st.text(max_size=40))
def test_any_text_is_a_selector_or_is_refused_as_one(text: str) -> None:
    refused = ""
    try:
        select({"a": [1, "x"]}, text)
    except Unverifiable as reason:
        refused = reason.code
    assert refused.split(".")[0] in ("", "selector", "number", "unit")


@given(st.lists(st.decimals(min_value=-(10**6), max_value=10**6, places=3), min_size=1, max_size=20))
def test_sums_do_not_depend_on_the_order(numbers: list[Decimal]) -> None:
    texts = [str(one) for one in numbers]
    [forth], [back] = select(texts, "$[*] | sum"), select(texts[::-1], "$[*] | sum")
    assert forth == back == sum(numbers)


def test_the_same_result_read_again_gives_the_same_nodes() -> None:
    again = orjson.loads(orjson.dumps(SHOP))
    assert select(SHOP, f"{CHECKOUT} | p95") == select(again, f"{CHECKOUT} | p95")
    assert select(SHOP, CHECKOUT)[0] == [START, "0.01"]
    assert select(SHOP, f"{CHECKOUT} | where(> 0.4) | [0]") == [Point(Instant(Decimal(START + 60)), "0.5")]
