"""What to read: the recorded list where there is one; else metrics, logs, states and changes around the affected service."""

import json
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from agents.rules.view import Facts, Query, View

Json = Any
READS_MAX = 200
COMPONENTS_MAX = 12
STEPS_MAX = 2
LINES_MAX = 200
POINTS_MAX = 950
"""Of one series: a young service has a short past, so the step is as fine as the window allows."""
LOOK_BACK_SECONDS = 3600
LIST = "replay.observation.list"
CHANGES = "replay.change.list"
ALERT = "replay.alert.read"
ERROR_WORDS = (
    "(?i)error|fatal|panic|exception|critical|refused|timeout|timed out|exhausted|not acquired|killed|slow|corrupt|"
    "unavailable|does not answer|answered 5[0-9][0-9]"
)
ASKED = frozenset({"process", "service", "logs", "config", "part"})
"""Types of components that are asked themselves; anything else is known by what others say of it."""
METRICS = (
    "shop_errors_total",
    "shop_requests_total",
    "shop_request_seconds_sum",
    "shop_calls_total",
    "shop_queue_depth",
)
"""Metrics of a supervised process that are asked for by name."""
RANGE = "prometheus.query.range"
TELLING = (
    ".*(?:errors?|failures?|failed|exceptions?|timeouts?|restarts?|requests)(?:_total)?|.*_(?:seconds|milliseconds)"
    "|.*(?:latency|duration)(?:_(?:ms|seconds))?|.*(?:queue|backlog)(?:_(?:depth|length|size))?"
)
"""Names of metrics that say how a service fares, on any metric server: counters and levels, no histograms: their sums grow with traffic."""
SERVICE_LABELS = ("service", "app")
"""Labels by which a metric server tells services apart."""


async def plan(view: View) -> list[Query]:
    """The reads of one investigation, in their order."""
    if LIST in view.actions:
        return (await _recorded(view))[: READS_MAX - 1]
    found = [query for query in _live(view.facts) if query.action in view.actions]
    return found[:READS_MAX]


async def _recorded(view: View) -> list[Query]:
    """The entries of a recorded case, and what the case itself holds."""
    facts = view.facts
    case = str(facts.alert.get("case") or facts.alert.get("labels", {}).get("case", "case"))
    seen = await view.read(Query(LIST, "replay", case, facts.env))
    entries = seen.value.get("observations", []) if isinstance(seen.value, Mapping) else []
    queries = [
        Query(action, "replay", case, facts.env, signal=signal, source=action)
        for action, signal in ((ALERT, "alert"), (CHANGES, "change"))
        if action in view.actions
    ]
    for entry in entries:
        query = Query(
            entry["action"], "replay", entry["resource"], facts.env, entry["args"], entry["source"], entry["signal"]
        )
        if query not in queries:
            queries.append(query)
    return queries


def _live(facts: Facts) -> Iterator[Query]:
    """Reads around the affected service, nearest first; the window reaches back far enough to see the usual."""
    since, until = facts.since, facts.until
    components = around(facts)
    for component in components:
        kind = facts.nodes.get(component, "process")
        if kind in ASKED:
            yield from _local(component, facts.env, since, until)
            yield from _logs(component, facts.env, since, until)
    yield from _changes(facts, since, until)


def of_servers(view: View, told: AbstractSet[str]) -> Iterator[Query]:
    """What metric servers know of the same components but those in ``told``, which tell their own metrics."""
    facts = view.facts
    step = max(1, -(-(facts.until - facts.since) // POINTS_MAX))
    window: Mapping[str, Json] = {"start_s": facts.since, "end_s": facts.until, "step_s": step}
    asked = [name for name in around(facts) if name in facts.components and name not in told]
    for server in (name for name, kind in facts.nodes.items() if kind == "prometheus" and RANGE in view.actions):
        for label, component in ((label, component) for component in asked for label in SERVICE_LABELS):
            query = f'{{__name__=~"{TELLING}",{label}={json.dumps(component)}}}'
            yield Query(RANGE, "prometheus", server, facts.env, {"query": query, **window}, signal="metric")


def around(facts: Facts) -> list[str]:
    """The affected service and what it depends on, in steps."""
    found, layer = [facts.service], [facts.service]
    for _ in range(STEPS_MAX):
        layer = [to for one in layer for to in facts.behind(one) if to not in found]
        found += list(dict.fromkeys(layer))
    return found[:COMPONENTS_MAX]


def _local(component: str, env: str, since: int, until: int) -> Iterator[Query]:
    window: Mapping[str, Json] = {
        "since_s": since,
        "until_s": until,
        "step_s": max(1, -(-(until - since) // POINTS_MAX)),
    }
    yield Query("local.process.status", "process", component, env, {}, signal="state")
    yield Query("local.schema.compare", "process", component, env, {}, signal="state")
    for metric in METRICS:
        yield Query("local.metrics.range", "process", component, env, {"metric": metric, **window}, signal="metric")
    search = {"pattern": ERROR_WORDS, "mode": "re2", "window_seconds": max(1, until - since), "end_s": until}
    yield Query("local.logs.search", "process", component, env, {**search, "lines_max": LINES_MAX}, signal="log")


def _logs(component: str, env: str, since: int, until: int) -> Iterator[Query]:
    window = {"since_s": since, "until_s": until}
    yield Query("logs.templates.count", "logs", component, env, window, signal="log")
    search = {"pattern": ERROR_WORDS, "mode": "re2", **window, "lines_max": LINES_MAX}
    yield Query("logs.lines.search", "logs", component, env, search, signal="log")


def _changes(facts: Facts, since: int, until: int) -> Iterator[Query]:
    """Commits of every repository that is known; changes matter from before the window on."""
    known = [name for name, kind in facts.nodes.items() if kind == "repository"] or ["config"]
    for name in known:
        window = {"since_s": since - LOOK_BACK_SECONDS, "until_s": until, "max": 50}
        yield Query("git.history.list", "repository", name, facts.env, window, signal="change")
