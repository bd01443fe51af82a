"""When two observations are one source: the one place where independence is defined.

Two observations are the same source if

1. they are the same observation, or
2. they asked the same thing: same connector, resource and signal class, and equal arguments once windows, steps, limits
   and search patterns are left out; a metric query counts as the names and matchers in it, not as the functions around
   them, so that a rate and a sum of one series are one source; or
3. they answered the same: equal results of one signal class, however they were asked for.

Everything else is another source. Two patterns searched in one service's log, or two windows of one series, are
therefore one source; that service's log and its metric are two.
"""

import re
from collections.abc import Iterable, Mapping

import orjson

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


def sources(observations: Iterable[Observation]) -> dict[str, str]:
    """Observation id -> the name of its source; equal names are one source."""
    names: dict[str, str] = {}
    by_question: dict[str, str] = {}
    by_answer: dict[str, str] = {}
    for seen in observations:
        question, answer = _question(seen), f"{seen.signal} {seen.digest}"
        name = by_question.get(question) or (by_answer.get(answer) if seen.digest else "") or _label(seen, by_question)
        by_question.setdefault(question, name)
        by_answer.setdefault(answer, name)
        names[seen.id] = name
    return names


def _label(seen: Observation, known: Mapping[str, str]) -> str:
    """A readable name that no other source has."""
    name = f"{seen.connector}:{seen.resource.get('id', '')}:{seen.signal}"
    count = 1 + sum(1 for other in set(known.values()) if other.partition("#")[0] == name)
    return name if count == 1 else f"{name}#{count}"


def _question(seen: Observation) -> str:
    """What was asked, as one text."""
    asked: dict[str, Json] = {}
    for name, value in seen.arguments.items():
        if name in QUERIES and isinstance(value, str):
            asked["query"] = metric_words(value)
        elif name not in WINDOW_AND_LIMITS and not _WHEN_OR_HOW_MUCH.fullmatch(name):
            asked[name] = value
    place = {name: seen.resource.get(name, "") for name in ("type", "id", "env")}
    return orjson.dumps([seen.connector, place, seen.signal, asked], option=orjson.OPT_SORT_KEYS).decode()


def metric_words(query: str) -> list[str]:
    """Metric names and label matchers of a query language such as PromQL, sorted; functions and windows left out."""
    matchers = [f"{name}{op}{text[1:-1]}" for name, op, text in _MATCHER.findall(query)]
    bare = _LITERAL.sub(" ", re.sub(r"\[[^\]]*\]", " ", _MATCHER.sub(" ", query)))
    bare = re.sub(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", bare)
    names = [
        word for word in _WORD.findall(re.sub(r"(?<![\w:.])[0-9.]+[a-z]*", " ", bare)) if word.lower() not in _NO_METRIC
    ]
    return sorted({*matchers, *names})
