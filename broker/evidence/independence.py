"""When two claims rest on one source: the one place where independence is defined.

Two claims rest on one source if

1. they cite the same observation, or
2. they measure the same thing: the same signal class, the same system and place, the same component. Of metrics the names
   of the metrics decide (their matchers, functions, windows and steps do not): those that the call names, else those of the
   rows that the claim selects. A query of several metrics is of the source that has one of them: one more in it makes no
   other source, and makes no two into one. What a query measures without either may be any metric of that component, so it is none beside
   the others; of logs nothing more (who reads a component's
   log, and which pattern is searched in it, does not make another log of it); of anything else the remaining arguments,
   windows, limits, patterns and their order left out; or
3. their observations are equal answers of one signal class, however they were asked for.

Everything else is another source. A component's log and its metric are two; its errors and its latency are two.
"""

import json
import re
from collections.abc import Collection, Sequence

from broker.evidence.observations import Observation
from broker.model import Json

WINDOW_AND_LIMITS = frozenset(
    [
        *("since", "until", "start", "end", "at", "since_s", "until_s", "start_s", "end_s", "at_s", "end_time"),
        *(
            "start_time",
            "start_datetime",
            "end_datetime",
            "since_seconds",
            "window",
            "window_s",
            "window_seconds",
            "step",
        ),
        *(
            "step_s",
            "interval",
            "limit",
            "max",
            "lines_max",
            "series_max",
            "rows_max",
            "tail",
            "page",
            "after",
            "order",
        ),
        *("pattern", "mode", "filter", "search", "commit", "from_commit", "to_commit", "branch"),
    ]
)
"""Arguments that say how much of a source is read, or where in it, not which."""
_WHEN_OR_HOW_MUCH = re.compile(
    r"(?:since|until|start|end|from|to|at|window|step|max|min|tail|limit)_\w+|\w+_(?:max|limit)"
)
QUERIES = ("query", "expr", "promql")
METRICS = ("metric", "metric_name", "series")
"""Arguments that name a metric."""
_COUNTER = re.compile(r"(?:_total|_count|_sum|_bucket)$", re.IGNORECASE)
_RATE = re.compile(r"\b(?:i?rate|increase|i?delta|deriv|changes|histogram_quantile)\s*\(")
_LITERAL = re.compile(r'"(?:[^"\\]|\\.)*"' + r"|'(?:[^'\\]|\\.)*'")
_MATCHER = re.compile(r"""([A-Za-z_][A-Za-z0-9_]*)\s*(=~|!~|!=|=)\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')""")
_WORD = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]*+(?!\s*\()")
_NO_METRIC = frozenset(
    [
        "by",
        "without",
        "on",
        "ignoring",
        "group_left",
        "group_right",
        "and",
        "or",
        "unless",
        "bool",
        "offset",
        "sum",
        "avg",
        "min",
        "max",
        "count",
        "stddev",
        "stdvar",
        "topk",
        "bottomk",
        "quantile",
        "s",
        "m",
        "h",
        "d",
        "w",
        "y",
        "ms",
        "inf",
        "nan",
        "e",
    ]
)


Cited = tuple[Observation, frozenset[str], frozenset[str]]
"""A cited observation, what the claim over it is about, and the names of metrics on the rows that the claim selects."""


def sources(cited: Sequence[Cited]) -> list[str]:
    """Of each claim the name of its source; equal names are one."""
    any_of = {_place(seen, subjects) for seen, subjects, rows in cited if "" in measured(seen, rows)}
    groups: list[set[str]] = []
    for (seen, subjects, _), same in zip(cited, _same_thing(cited), strict=True):
        place = _place(seen, subjects)
        mine = {f"id {seen.id}", place if place in any_of else same}
        if seen.digest:
            mine.add(f"answer {seen.signal} {seen.digest}")
        joined = [group for group in groups if group & mine]
        groups = [group for group in groups if not group & mine]
        groups.append(mine.union(*joined))
    numbers: dict[str, dict[int, int]] = {}
    named = []
    for seen, _, _ in cited:
        group_at = next(at for at, group in enumerate(groups) if f"id {seen.id}" in group)
        label = f"{seen.connector}:{seen.resource.get('id', '')}:{seen.signal}"
        known = numbers.setdefault(label, {})
        number = known.setdefault(group_at, len(known) + 1)
        named.append((group_at, label if number == 1 else f"{label}#{number}"))
    first: dict[int, str] = {}
    return [first.setdefault(group_at, name) for group_at, name in named]


def _place(seen: Observation, subjects: frozenset[str]) -> str:
    """Where is measured, and of whom, as one text."""
    place = [seen.connector, *(seen.resource.get(name, "") for name in ("type", "id", "env"))]
    if seen.signal == "log" and subjects:
        place = [seen.resource.get("env", "")]
    return json.dumps([place, seen.signal, sorted(subjects)])


def _same_thing(cited: Sequence[Cited]) -> list[str]:
    """Of each claim what is measured, as one text; those that measure fewest metrics say first which there are."""
    known: dict[str, list[set[str]]] = {}
    same = [""] * len(cited)
    for number in sorted(range(len(cited)), key=lambda number: len(_named(cited[number]))):
        seen, subjects, _ = cited[number]
        place, named = _place(seen, subjects), _named(cited[number])
        if not named:
            same[number] = f"{place} {_asked(seen)}"
            continue
        groups = known.setdefault(place, [])
        at = next((at for at, group in enumerate(groups) if group & named), len(groups))
        if at == len(groups):
            groups.append(set())
        groups[at] |= named
        same[number] = f"{place} metrics {at}"
    return same


def _named(one: Cited) -> set[str]:
    """The metrics that a claim's observation measures."""
    seen, _, rows = one
    return set(metrics(seen) or measured(seen, rows))


def _asked(seen: Observation) -> str:
    """What else than metrics was asked for, as one text; of a log nothing: whatever is searched in it, it is one log."""
    if seen.signal == "log":
        return ""
    asked = {name: _plain(value) for name, value in seen.arguments.items() if not _is_window(name)}
    return json.dumps(asked, sort_keys=True)


def measured(seen: Observation, rows: frozenset[str]) -> frozenset[str]:
    """The metrics that a claim looks at, by the names on its ``rows``, else by the call; "" is one of which a query says no name."""
    if seen.signal != "metric":
        return frozenset()
    asked = any(isinstance(seen.arguments.get(name), str) for name in QUERIES)
    return frozenset(_family(name) for name in rows) or frozenset(metrics(seen)) or frozenset({""} if asked else ())


def _is_window(name: str) -> bool:
    return name in WINDOW_AND_LIMITS or _WHEN_OR_HOW_MUCH.fullmatch(name) is not None


def _plain(value: Json) -> Json:
    """A list of plain values in one order."""
    return sorted(value, key=str) if isinstance(value, list) and all(isinstance(one, str) for one in value) else value


def metrics(seen: Observation) -> list[str]:
    """Names of the metrics that were asked for; empty where the call names none."""
    if seen.signal != "metric":
        return []
    queries = [text for name in QUERIES if isinstance(text := seen.arguments.get(name), str)]
    named = [text for name in METRICS if isinstance(text := seen.arguments.get(name), str)]
    return sorted({_family(name) for name in (*named, *(word for text in queries for word in metric_words(text)))})


def _family(name: str) -> str:
    """A histogram's or counter's series under the name of what is measured."""
    return re.sub(r"_(?:total|count|sum|bucket)$", "", name)


def is_counter(seen: Observation, named: Collection[str]) -> bool:
    """Whether a series only counts up: by its name, unless the query turns it into a rate."""
    queries = [text for name in QUERIES if isinstance(text := seen.arguments.get(name), str)]
    asked = [text for name in METRICS if isinstance(text := seen.arguments.get(name), str)]
    words = [*named, *asked, *(word for text in queries for word in metric_words(text))]
    return any(_COUNTER.search(word) for word in words) and not any(_RATE.search(text) for text in queries)


def metric_words(query: str) -> list[str]:
    """Metric names in a query language such as PromQL, sorted; matchers, functions, labels and windows left out."""
    exact = [text[1:-1] for name, op, text in _MATCHER.findall(query) if (name, op) == ("__name__", "=")]
    bare = _LITERAL.sub(" ", re.sub(r"\[[^\]]*\]", " ", _MATCHER.sub(" ", query)))
    bare = re.sub(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", bare)
    names = [
        word for word in _WORD.findall(re.sub(r"(?<![\w:.])[0-9.]+[a-z]*", " ", bare)) if word.lower() not in _NO_METRIC
    ]
    return sorted({*exact, *names})
