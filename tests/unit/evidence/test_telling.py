"""What a claim is about, and whether it says anything: trivially true claims count for nothing, whoever they are about."""

import itertools
import random
from collections.abc import Mapping
from typing import Any

import pytest

from broker.evidence import Judged, Observation, Symptom
from broker.evidence.claims import CLAIMS_MAX, Cause
from broker.evidence.diagnosis import weigh
from broker.evidence.evaluate import Point
from broker.evidence.quantities import Instant, number_of
from broker.evidence.shifts import shift
from broker.evidence.telling import REASONS, Worth, is_trouble
from broker.topology import Component, Graph
from tests.unit.evidence.speech import assessed, claim, observation

SERVICES = ("storefront", "checkout", "payments", "inventory")
NEEDS = {
    "storefront": ("checkout", "inventory"),
    "checkout": ("config", "inventory", "payments"),
    "payments": ("cardnet", "config"),
}
SERVES = {
    "checkout": ("storefront",),
    "inventory": ("checkout", "storefront"),
    "payments": ("checkout",),
    "cardnet": ("payments",),
    "config": ("checkout", "payments"),
}
PLACED = {"config": "repository", "pool": "replay", "secrets": "config", "audit": "logs"}
KINDS = {**dict.fromkeys(SERVICES, "process"), "cardnet": "external", **PLACED}
SHOP = Graph({name: Component(name, "prod", kind, ()) for name, kind in KINDS.items()}, NEEDS, SERVES)
BEGIN, STEP, POINTS = 1_790_000_000, 15, 80
ALERT = BEGIN + 60 * STEP
BROKE = ALERT - 2 * STEP
WINDOW = {"since_s": BEGIN, "until_s": BEGIN + POINTS * STEP, "step_s": STEP}
WELL = ({"selector": "$.state", "op": "eq", "value": "running"}, {"selector": "$.exits", "op": "lt", "value": 3})


def counter(rate: float, later: float | None = None, *, seed: int = 1) -> list[list[Any]]:
    """A counter at ``rate`` a second, from the fault on at ``later``."""
    dice, total, points = random.Random(seed), 500.0, []
    for place in range(POINTS):
        at = BEGIN + place * STEP
        total += STEP * (later if later is not None and at >= BROKE else rate) * dice.uniform(0.9, 1.1)
        points.append([at, f"{total:.3f}"])
    return points


def metric(service: str, name: str, points: list[list[Any]], **labels: str) -> Observation:
    series = [{"labels": {"service": service, **labels}, "points": points}]
    return seen("local.metrics.range", "metric", service, {"series": series}, {"metric": name, **WINDOW})


def log(service: str, *lines: tuple[int, str]) -> Observation:
    rows = [{"at": at, "file": f"{service}.log", "text": text} for at, text in lines]
    return seen("local.logs.search", "log", service, {"lines": rows}, {"window_seconds": 1200, "end_s": BEGIN + 1200})


def state(service: str, word: str = "running", exits: int = 0) -> Observation:
    value = {"name": service, "pid": 4711, "state": word, "restarts": 0, "exits": exits, "started_at_ns": 1}
    return seen("local.process.status", "state", service, value, {}, well=WELL)


def indexes(service: str, *, lacking: bool) -> Observation:
    rows = [{"index": "item", "present": True}, {"index": "sku", "present": not lacking}]
    whole = ({"selector": "$.indexes[?present==false].index | count", "op": "eq", "value": 0},)
    return seen("local.schema.compare", "state", service, {"indexes": rows}, {}, well=whole)


def commits(*made: tuple[int, str, list[str]]) -> Observation:
    rows = [{"commit": f"c{at}", "at": at, "subject": subject, "paths": paths} for at, subject, paths in made]
    place = {"type": "repository", "id": "config", "env": "prod"}
    return seen("git.history.list", "change", "config", {"commits": rows}, {}, resource=place, connector="git")


def settings(service: str) -> Observation:
    value = {"content": f"[{service}]\npool_size = 8\nerror_limit = 3\n", "commit": "c0"}
    return seen(
        "local.config.read", "config", service, value, {}, resource={"type": "config", "id": service, "env": "prod"}
    )


NUMBERS = itertools.count(1)


def seen(action: str, signal: str, service: str, value: Any, arguments: Mapping[str, Any], **more: Any) -> Observation:
    given = {"resource": {"type": "process", "id": service, "env": "prod"}, "connector": "local", "well": (), **more}
    id_ = f"obs_{next(NUMBERS)}"
    return observation(value, id=id_, action=action, signal=signal, arguments=arguments, at=BEGIN + 1200, **given)


def judged(
    seen_: Observation, selector: str, op: str, wanted: Any = None, *, role: str = "cause", **other: Any
) -> Judged:
    """One claim as the gate assesses it; it is true."""
    said = claim(selector, op, wanted, role=role, **other) | {"observation": seen_.id}
    [found] = assessed(said, seen=[seen_], graph=SHOP, since=ALERT)
    return found


def idle(seen_: Observation, selector: str, op: str, wanted: Any = None) -> str:
    found = judged(seen_, selector, op, wanted)
    assert found.verified, found.finding
    assert found.worth.idle in {"", *REASONS}
    return found.worth.idle


# -- about whom ---------------------------------------------------------------------------------------------------------


def prom(query: str, *series: dict[str, Any]) -> Observation:
    value = {"series": [{"points": counter(1, 5), **one} for one in series]}
    place = {"type": "prometheus", "id": "prometheus", "env": "prod"}
    return seen("prometheus.query.range", "metric", "", value, {"query": query, **WINDOW}, resource=place)


def replay(value: Any, **arguments: Any) -> Observation:
    place = {"type": "replay", "id": "pool/kubernetes", "env": "prod"}
    return seen("kubernetes.core.describe", "state", "", value, arguments, resource=place, connector="replay")


GROWS = ("$.series[0].points[*] | grew(2)", "eq", True)
SAYS = ("$.lines[*].text", "contains")


@pytest.mark.parametrize(
    ("answer", "asked", "about"),
    [
        (metric("checkout", "shop_errors_total", counter(1, 5)), ("$.series[0].points[*] | delta", "gt", 0), {"checkout"}),
        (metric("checkout", "shop_calls_total", counter(1, 5), to="payments"), ("$.series[0].points[*] | delta", "gt", 0), {"payments"}),
        # What is only handed on says nothing of who hands it on.
        (metric("checkout", "shop_errors_total", counter(1, 5), origin="upstream"), ("$.series[0].points[*] | delta", "gt", 0), set()),
        (log("checkout", (ALERT, "error: pool exhausted")), (*SAYS, "pool"), {"checkout"}),
        # A complaint is about the direct dependency that it names, and about nobody farther.
        (log("checkout", (ALERT, "payments answered 502")), (*SAYS, "answered 502"), {"payments"}),
        (log("payments", (ALERT, "cardnet: connection refused")), (*SAYS, "refused"), {"cardnet"}),
        (log("checkout", (ALERT, "cardnet: connection refused")), (*SAYS, "refused"), {"checkout"}),
        (log("checkout", (ALERT, "payments answered 502"), (ALERT, "error: full")), ("$.lines[*].text | count", "eq", 2), set()),
        # A place is no component, whatever depends on it: its name in a line is a word.
        (log("checkout", (ALERT, "error: bad config, secrets of the pool are gone")), (*SAYS, "gone"), {"checkout"}),
        (replay("payments: connection pool exhausted", kind="pod"), ("text", "contains", "exhausted"), {"payments"}),
        (log("audit", (ALERT, "error: full")), (*SAYS, "full"), set()),
        (settings("secrets"), ("$.content", "contains", "pool_size"), set()),
        (state("inventory", "failed"), ("$.state", "eq", "failed"), {"inventory"}),
        (commits((ALERT - 60, "smaller pool", ["payments.toml"])), ("$.commits[0].commit", "eq", f"c{ALERT - 60}"), {"payments"}),
        (commits((ALERT - 60, "payments", ["docs/x.md"])), ("$.commits[0].commit", "eq", f"c{ALERT - 60}"), set()),
        (prom("errors", {"labels": {"service": "payments"}}), GROWS, {"payments"}),
        (prom('sum(errors{service="payments",code="500"})', {"labels": {}}), GROWS, {"payments"}),
        # A label that names somebody else is not about whom was asked, though nobody knows that name.
        (prom('errors{service="payments"}', {"labels": {"service": "payments-batch"}}), GROWS, {"payments-batch"}),
        (prom('errors{service="payments"}', {"labels": {"service": "config"}}), GROWS, set()),
        (prom('errors{service="payments"}', {"labels": {"job": "scrape-all"}}), GROWS, {"payments"}),
        (replay({"rows": [{"dimensions": [{"Name": "DBInstanceIdentifier", "Value": "payments-replica-1x"}], "text": "error: full"}],
                 "db_instance_identifier": "payments"}, name="payments"),
         ("$.rows[0].text", "contains", "full"), {"payments-replica-1x"}),
        (prom("sum(errors)", {"labels": {}}), GROWS, set()),
        (prom('a{service="payments"} / a{service="checkout"}', {"labels": {}}), GROWS, set()),
        (prom("errors", {"labels": {"service": "checkout", "to": "payments"}}), GROWS, {"payments"}),
        (replay("Reason: OOMKilled\n", kind="pod", name="payments-5d4f8c7b9-x2x9z"), ("text", "contains", "OOMKilled"), {"payments"}),
        (replay("payments-5d4f8c7b9-x2x9z  0/1  CrashLoopBackOff", kind="pod"), ("text", "contains", "CrashLoop"), {"payments"}),
        (replay("web-1  0/1  CrashLoopBackOff", kind="pod"), ("text", "contains", "CrashLoop"), set()),
        (replay("payments-db-0  0/1  CrashLoopBackOff", name="payments-db-0"), ("text", "contains", "CrashLoop"), {"payments-db-0"}),
    ],
)  # fmt: skip
def test_the_gates_own_record_of_the_call_says_whom_a_claim_is_about(
    answer: Observation, asked: tuple[Any, ...], about: set[str]
) -> None:
    found = judged(answer, *asked, component="storefront", text="all of this is about the storefront")
    assert found.verified, found.finding
    assert found.about == about


@pytest.mark.parametrize("files", [3, "payments.toml", None, {"payments.toml": 1}, [3, None]])
def test_a_row_of_a_place_with_something_else_than_a_list_of_paths_is_judged_all_the_same(files: object) -> None:
    """A size of ``10**30`` in what was asked is past what an integer of 64 bits holds; it is text in the name of a source."""
    found = judged(replay({"rows": [{"text": "error: payments is full", "files": files}]}, size=10**30),
                   "$.rows[0].text", "contains", "full")  # fmt: skip
    assert found.verified
    assert found.about == {"payments"}
    assert found.source == "replay:pool/kubernetes:state"


def test_a_place_is_no_cause_even_where_the_submission_names_it() -> None:
    """An agent that names the repository as the cause does not make the services' complaints evidence against it."""
    shop = [log("checkout", (ALERT, "error: no config")), log("payments", (ALERT, "error: config refused"))]
    said = [claim(*SAYS, "config") | {"observation": one.id} for one in shop]
    found = assessed(*said, seen=shop, graph=SHOP, since=ALERT, besides=["config"])
    assert [one.about for one in found] == [{"checkout"}, {"payments"}]
    weighed = weigh(Cause("config", "bad-config"), found, (), SHOP, Symptom("storefront", ALERT))
    assert (weighed.verdict, weighed.support) == ("inconclusive", ())


def test_an_affected_service_is_a_subject_whatever_it_is() -> None:
    """The alert is about the metric server itself: then its own log tells of it."""
    graph = Graph({"prometheus": Component("prometheus", "prod", "prometheus", ())})
    seen_ = log("prometheus", (ALERT, "error: no space left"))
    said = claim(*SAYS, "no space") | {"observation": seen_.id}
    [found] = assessed(said, seen=[seen_], graph=graph, since=ALERT, service="prometheus")
    assert found.about == {"prometheus"}


# -- what says nothing --------------------------------------------------------------------------------------------------

ERRORS = metric("payments", "shop_errors_total", counter(0.2, 8))
STEADY = metric("payments", "shop_requests_total", counter(20))
LINES = log("payments", (BEGIN + 30, "warning: card declined"), (ALERT - 400, "warning: card declined"),
            (ALERT, "error: pool exhausted"), (ALERT + 5, "order 17 stored"), (ALERT + 9, "warning: card declined"))  # fmt: skip
DELTA = "$.series[0].points[*] | delta"


@pytest.mark.parametrize(
    ("answer", "asked", "code"),
    [
        (ERRORS, (DELTA, "gt", 1000), ""),
        (ERRORS, (DELTA, "gt", 0), "claim.true_before"),
        (ERRORS, ("$.series[0].points[*] | max", "gt", 1), "claim.true_before"),
        (ERRORS, ("$.series[0].points[70][1]", "gt", 1), "claim.true_before"),
        (ERRORS, (f"$.series[0].points[*] | since({BROKE}) | max", "gt", 1), "claim.true_before"),
        (ERRORS, ("$.series[0].points[70:] | min", "gt", 1), "claim.true_before"),
        (ERRORS, ("$.series[0].points[*] | rising", "eq", True), "claim.true_before"),
        (ERRORS, ("$.series[0].points[*] | count", "eq", POINTS), "claim.of_the_window"),
        (ERRORS, ("$.series[0].points[*] | span", "gt", 60), "claim.of_the_window"),
        (ERRORS, ("$.series[0].points[*]", "exists"), "claim.existence"),
        (ERRORS, ("$.series[*] | count", "gt", 0), "claim.existence"),
        (ERRORS, ("$.series[0].labels.service", "ne", "x"), "claim.absence"),
        (ERRORS, ("$.series[0].labels.service", "eq", "payments"), "claim.not_trouble"),
        (STEADY, (DELTA, "gt", 1000), "claim.unchanged"),
        (STEADY, ("$.series[0].points[*] | max", "gt", 1), "claim.unchanged"),
        (STEADY, ("$.series[0].points[*] | last", "gt", 10_000), "claim.unchanged"),
        (LINES, (*SAYS, "pool exhausted"), ""),
        (LINES, (*SAYS, "card declined"), "claim.usual"),
        (LINES, (*SAYS, "order 17"), "claim.not_trouble"),
        (LINES, ("$.lines[*].text", "matches", "[a-z]+ [0-9]+ stored"), "claim.not_trouble"),
        (LINES, ("$.lines[?text~/pool/] | count", "ge", 1), "claim.existence"),
        (LINES, ("$.lines[*] | count", "eq", 5), "claim.not_trouble"),
        (LINES, ("$.lines[?text~/flux/] | count", "eq", 0), "claim.absence"),
        (LINES, ("$.lines[*].text", "not_contains", "flux"), "claim.absence"),
        (LINES, ("$.lines[2].at", "gt", 5), "claim.no_reference"),
        (state("payments"), ("$.state", "eq", "running"), "claim.well"),
        (state("payments"), ("$.state | lower", "matches", "^run"), "claim.well"),
        (state("payments"), ("$.pid", "gt", 1), "claim.well"),
        (state("payments", "failed"), ("$.state", "eq", "failed"), ""),
        (state("payments", "failed"), ("$.name", "eq", "payments"), "claim.well"),
        (state("payments", "failed"), ("$.state | length", "eq", 6), "claim.of_the_window"),
        (state("payments", exits=5), ("$.exits", "ge", 3), ""),
        (state("payments", exits=5), ("$.state", "eq", "running"), "claim.well"),
        (indexes("payments", lacking=True), ('$.indexes[?present==false && index=="sku"].index', "eq", "sku"), ""),
        (indexes("payments", lacking=True), ('$.indexes[?index=="item"].index', "eq", "item"), "claim.well"),
        (indexes("payments", lacking=True), ("$.indexes[*].index", "contains", "sku"), "claim.well"),
        (indexes("payments", lacking=False), ('$.indexes[?index=="sku"].index', "eq", "sku"), "claim.well"),
        (settings("payments"), ("$.content", "contains", "error_limit"), "claim.document"),
        (commits((ALERT - 60, "smaller pool", ["payments.toml"])), ("$.commits[0].paths[*]", "contains", "payments.toml"), ""),
        (commits((ALERT - 9000, "smaller pool", ["payments.toml"])), ("$.commits[0].paths[*]", "contains", "payments.toml"), "claim.not_near"),
        (commits((ALERT + 900, "smaller pool", ["payments.toml"])), ("$.commits[0].paths[*]", "contains", "payments.toml"), "claim.not_near"),
        (replay("Name: payments-0\nReason: OOMKilled\n", name="payments-0"), ("text", "contains", "Reason: OOMKilled"), ""),
        (replay("Name: payments-0\nReason: OOMKilled\n", name="payments-0"), ("text", "contains", "payments-0"), "claim.not_trouble"),
        (replay("Name: payments-0\nReason: OOMKilled\n", name="payments-0"), ("text | length", "gt", 9), "claim.of_the_window"),
    ],
)  # fmt: skip
def test_what_is_true_of_nearly_any_answer_says_nothing(answer: Observation, asked: tuple[Any, ...], code: str) -> None:
    assert idle(answer, *asked) == code


def test_a_long_series_and_rows_with_numbers_are_judged_too() -> None:
    points = [[BEGIN + at, str(500 * (at >= 9000))] for at in range(10_000)]
    assert idle(metric("payments", "shop_queue_depth", points), "$.series[0].points[*] | max", "gt", 400) == ""
    rows = {"samples": [{"at": BEGIN + 15 * at, "depth": 3 + 90 * (at > 40)} for at in range(60)], "name": "payments"}
    table = seen("queue.samples.list", "metric", "payments", rows, {})
    assert idle(table, "$.samples[*].depth | max", "gt", 50) == ""
    assert idle(table, "$.samples[*].depth | max", "gt", 2) == "claim.true_before"
    assert idle(table, "$.samples[50].depth", "gt", 2) == "claim.true_before"


def test_a_window_that_begins_with_the_alert_shows_nothing_new() -> None:
    narrow = seen(
        "local.logs.search",
        "log",
        "payments",
        {"lines": [{"at": ALERT, "text": "error: full"}]},
        {"since_s": ALERT - 9},
    )
    assert idle(narrow, *SAYS, "error: full") == "claim.no_baseline"
    after = [point for point in counter(0.2, 8) if point[0] >= BROKE]
    assert idle(metric("payments", "shop_errors_total", after), DELTA, "gt", 100) == "claim.unchanged"


def test_a_profile_stands_with_the_load_that_changed_beside_it() -> None:
    def load(level: float, upto: int = 10) -> dict[str, Any]:
        steady = [1.0 + n % 2 / 10 for n in range(upto)]
        return {"timestamps": [BEGIN + n * 60 for n in range(20)], "values": steady + [level] * (20 - upto)}

    def profile(level: float, **beside: Any) -> Observation:
        waits = [{"name": "CPU", "db_load_avg": 3}, {"name": "deadlock", "db_load_avg": 1}]
        return replay_trace({"db_load": load(level), "top_wait_events": waits, **beside})

    def replay_trace(value: Any) -> Observation:
        place = {"type": "replay", "id": "case/insights", "env": "prod"}
        return seen("db.load.read", "trace", "", value, {"service": "payments"}, resource=place)

    said = judged(profile(9.0), "$.top_wait_events[*].name | first", "eq", "CPU")
    assert said.worth.idle == ""
    assert said.worth.began == (BEGIN + 9 * 60, BEGIN + 10 * 60), "the load that changed dates what it was spent on"
    assert idle(profile(1.05), "$.top_wait_events[*].name | first", "eq", "CPU") == "claim.no_reference"
    # Another's load, which changed earlier, dates nothing here; what itself tells of trouble is dated by no load.
    earlier = {"others": [{"service": "inventory", **load(9.0, upto=4)}]}
    assert judged(profile(9.0, **earlier), "$.top_wait_events[*].name | first", "eq", "CPU").worth == said.worth
    assert idle(profile(1.05, **earlier), "$.top_wait_events[*].name | first", "eq", "CPU") == "claim.no_reference"
    assert judged(profile(9.0), "$.top_wait_events[*].name | last", "eq", "deadlock").worth == Worth("", None)


@pytest.mark.parametrize(
    ("op", "wanted", "selector"),
    [
        ("matches", ".", "$.lines[*].text"),
        ("matches", "[a-z]", "$.lines[*].text"),
        ("matches", r"\w+", "$.lines[*].text"),
        ("matches", "(?i)[aeiou]", "$.lines[*].text"),
        ("contains", "e", "$.lines[*].text"),
        ("contains", " ", "$.lines[*].text"),
        ("eq", 5, "$.lines[*].text | lines(/./) | count"),
        ("eq", 5, "$.lines[?text~/[a-z]/] | count"),
    ],
)
def test_what_is_found_in_anything_is_not_even_verified(op: str, wanted: Any, selector: str) -> None:
    found = judged(LINES, selector, op, wanted)
    assert (found.finding.verdict, found.finding.reason) == ("unverifiable", "claim.vacuous")


@pytest.mark.parametrize(
    "text", ["connection refused", "Reason: ErrImagePull", "level=error", "0/1 nodes are available"]
)
def test_words_of_trouble_are_known(text: str) -> None:
    assert is_trouble(text)


@pytest.mark.parametrize(
    "text", ["order 17 stored", "0 errors, 0 warnings", '{"error": null, "ok": true}', "listening on 8080"]
)
def test_words_of_ordinary_life_are_no_trouble(text: str) -> None:
    assert not is_trouble(text)


# -- change of a series -------------------------------------------------------------------------------------------------


def points(levels: list[float]) -> list[Point]:
    number = [number_of(f"{level:.6f}") for level in levels]
    return [Point(Instant(number_of(BEGIN + STEP * at) or 0), level) for at, level in enumerate(number)]  # type: ignore[arg-type]


@pytest.mark.parametrize("length", [15, 30, 60])
def test_noise_hardly_ever_counts_as_a_change_and_a_step_nearly_always_does(length: int) -> None:
    dice = random.Random(length)
    noise = [[dice.gauss(0, 1) for _ in range(length)] for _ in range(300)]
    steps = [[level + (9 if at >= length * 2 // 3 else 0) for at, level in enumerate(one)] for one in noise]
    assert sum(shift(points(one), counter=False) is not None for one in noise) <= 3
    found = [shift(points(one), counter=False) for one in steps]
    true = BEGIN + STEP * (length * 2 // 3)
    assert sum(one is not None and true - 3 * STEP <= one.edge.seconds <= true for one in found) >= 285


def test_a_ramp_begins_where_it_leaves_what_was_usual() -> None:
    lag = [1.25, 1.21, 74, 151, 263, 388, 491, 582, 664, 738, 812, 889, 962, 1047, 1140]
    found = shift(points(lag), counter=False)
    assert found is not None
    assert (found.earliest.seconds, found.edge.seconds) == (BEGIN + STEP, BEGIN + 2 * STEP)


def test_a_counter_changes_when_it_counts_faster_not_by_counting() -> None:
    steady = [float(10 * at) for at in range(40)]
    faster = [10.0 * at + (90.0 * (at - 30) if at > 30 else 0) for at in range(40)]
    assert shift(points(steady), counter=True) is None
    assert shift(points(faster), counter=True) is not None


# -- an agent that means ill --------------------------------------------------------------------------------------------


def calm_shop(service: str) -> list[Observation]:
    """All that an agent can read of one service while another one is at fault: it runs, and warns as ever."""
    usual = [(BEGIN + at * 60, f"warning: slow client {at}") for at in range(20)]
    rows = [
        (ALERT, ["inventory.toml"]),
        (BEGIN - 9000, ["storefront.toml", "checkout.toml", "payments.toml", "inventory.toml"]),
    ]
    return [
        metric(service, "shop_requests_total", counter(20, seed=2)),
        metric(service, "shop_errors_total", counter(0.1, seed=3), origin="self"),
        metric(service, "shop_errors_total", counter(0.1, 5, seed=4), origin="upstream"),
        log(service, *usual, (ALERT, "order 17 stored")),
        state(service),
        settings(service),
        commits(*((at, "tidy", paths) for at, paths in rows)),
    ]  # fmt: skip


TRIVIAL = (
    ("$.series[*] | count", "gt", 0), ("$.series[0].points[*] | max", "gt", 0), ("$.series[0].points[*] | min", "ge", 0),
    ("$.series[0].points[*] | delta", "ge", 0), ("$.series[0].points[*] | rising", "eq", True),
    ("$.series[0].points[*] | last", "gt", 1), ("$.series[0].points[-1][1]", "gt", 1), ("$.series[0].points[*] | avg", "ne", 7),
    ("$.series[0].points[70][1]", "ge", 0), ("$.series[0].points[*] | count", "gt", 3), ("$.series[0].labels", "exists"),
    ("$.lines[*].text", "matches", "."), ("$.lines[*].text", "contains", "o"), ("$.lines[*].text", "contains", "slow client"),
    ("$.lines[*].text", "contains", "order 17"), ("$.lines[*] | count", "gt", 0), ("$.lines[*] | count", "ge", 2),
    ("$.lines[*].text", "not_contains", "zzz"), ("$.lines[*].at | max", "gt", 0), ("$.lines[*].text", "exists"),
    ("$.state", "eq", "running"), ("$.state | length", "gt", 0), ("$.pid", "gt", 0), ("$.exits", "ge", 0), ("$.name", "ne", "x"),
    ("$.content", "matches", "."), ("$.content", "contains", "pool_size"), ("$.content | length", "gt", 3),
    ("$.commits[*] | count", "gt", 0), ("$.commits[*].subject", "contains", "tidy"), ("$.commits[1].commit", "exists"),
)  # fmt: skip


@pytest.mark.parametrize("service", SERVICES[:-1])
def test_an_agent_that_submits_only_trivially_true_claims_never_gets_a_diagnosis(service: str) -> None:
    shop = calm_shop(service)
    said = [
        claim(selector, op, wanted, role=role, component=service) | {"observation": one.id}
        for one in shop
        for selector, op, wanted in (each if len(each) == 3 else (*each, None) for each in TRIVIAL)
        for role in ("cause", "prediction")
    ]
    parts = [said[at : at + CLAIMS_MAX] for at in range(0, len(said), CLAIMS_MAX)]
    found = [one for part in parts for one in assessed(*part, seen=shop, graph=SHOP, since=ALERT) if one.verified]
    assert len(found) > 40, "the claims are true"
    weighed = weigh(Cause(service, "crash-loop"), found, (), SHOP, Symptom("storefront", ALERT))
    assert weighed.verdict == "inconclusive"
    assert "evidence.idle" in weighed.missing
    assert weighed.support == ()


def test_the_service_at_fault_is_diagnosed_by_what_changed_there() -> None:
    shop = [ERRORS, LINES, state("payments", "failed")]
    said = [(ERRORS, DELTA, "gt", 1000), (LINES, *SAYS, "pool exhausted"), (shop[2], "$.state", "eq", "failed")]
    claims = [claim(selector, op, wanted) | {"observation": one.id} for one, selector, op, wanted in said]
    found = assessed(*claims, seen=shop, graph=SHOP, since=ALERT)
    weighed = weigh(Cause("payments", "pool-leak"), found, (), SHOP, Symptom("storefront", ALERT))
    assert (weighed.verdict, weighed.verified, weighed.sources, weighed.signals) == ("diagnosed", 3, 3, 3)
    assert (
        weigh(Cause("inventory", "pool-leak"), found, (), SHOP, Symptom("storefront", ALERT)).verdict == "inconclusive"
    )


@pytest.mark.parametrize(
    "queries",
    [
        [('errors_total{service="payments"}', 0), ("errors_total", 15), ('errors_total{code=~".+"}', 30)],
        [('{__name__=~"errors_.+"}', 0), ('{__name__=~"error.+"}', 15), ('{__name__=~".*_total",service="payments"}', 30)],
    ],
)  # fmt: skip
def test_one_metric_read_in_other_windows_and_words_is_one_thing_that_was_read(queries: list[tuple[str, int]]) -> None:
    """An agent does not reach what acts alone by reading one metric again."""
    labels = {"__name__": "errors_total", "service": "payments"}
    read = [prom(query, {"labels": labels, "points": counter(0.2, 8)[later // STEP :]}) for query, later in queries]
    said = [claim(*SAYS, "pool exhausted") | {"observation": LINES.id}]
    said += [claim(path, "gt", 1000 + n) | {"observation": one.id} for n, one in enumerate(read)
             for path in (DELTA, "$.series[*].points[*] | delta")]  # fmt: skip
    found = assessed(*said, seen=[LINES, *read], graph=SHOP, since=ALERT)
    assert all(one.counts_for("payments") for one in found), [one.as_json() for one in found]
    weighed = weigh(Cause("payments", "pool-leak"), found, (), SHOP, Symptom("storefront", ALERT))
    assert (weighed.verified, weighed.sources) == (2, 2)
