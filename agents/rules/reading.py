"""From an answer to what rules look at: texts and series, each with the selector by which a claim finds it again.

Shapes are recognised by their members, not by the tool's name: Prometheus (``series``/``labels``/``points``, and its
own API's ``metric``/``values``), CloudWatch (``metric_name``/``timestamps``/``values``), rows with an instant and
numbers, log entries with a text, and plain text.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from agents.rules.scores import Point
from agents.rules.view import Query, Seen

Json = Any
LINES_MAX = 20_000
SERIES_MAX = 400
DEPTH_MAX = 12
_TIMES = ("at", "time", "timestamp", "ts", "date", "first_s", "start")
_ISO = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?")
_IN_A_WORD = re.compile(r"[\w@.+-]{2}")
_BEFORE_THE_WORD = re.compile(r"(?<=[^\w@.+-])[\w@.+-]+$")
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECTION = re.compile(r"^(\s*)(?:Command|Args|Environment|Annotations|Labels)\s*:", re.IGNORECASE)
_TEMPLATE = re.compile(r"\{\{.*\}\}|\$labels\b|\$value\b")
_HASHES = re.compile(r"-(?:[0-9a-f]{6,10}-[0-9a-z]{5}|[0-9a-f]{8,10}|(?=[0-9a-z]*[0-9])[0-9a-z]{5})$")
_NAMES = (
    "pod_name",
    "name",
    "service",
    "workload",
    "deployment",
    "app",
    "component",
    "app_name",
    "pod",
    "resource_name",
    "instance",
    "db_instance_identifier",
    "keyword",
    "job",
    "target",
    "host",
    "node",
)
_LABELS = (
    "service",
    "component",
    "app",
    "deployment",
    "workload",
    "DBInstanceIdentifier",
    "pod",
    "instance",
    "job",
    "name",
)


def excerpt(text: str, most: int = 160) -> str:
    """The beginning of a text, to be found again word for word: never cut within a word.

    Half a pseudonym is none: in what an agent sends it would be taken for what it stands for, and be replaced.
    """
    text = text.strip()
    if len(text) <= most:
        return text
    return (text[:most] if not _IN_A_WORD.match(text, most - 1) else _BEFORE_THE_WORD.sub("", text[:most])).rstrip()


@dataclass(frozen=True, slots=True)
class Line:
    """One text of an answer. ``selector`` gives it, maybe among its siblings; ``at`` its instant; ``count`` how often."""

    text: str
    selector: str
    component: str
    at: int | None = None
    at_selector: str = ""
    level: str = ""
    count: int = 1


@dataclass(frozen=True, slots=True)
class Series:
    """One row of numbers over time; ``selector`` gives its points."""

    name: str
    component: str
    points: Sequence[Point]
    selector: str
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def values(self) -> list[float]:
        """The levels alone."""
        return [value for _, value in self.points]


def workload(name: str) -> str:
    """A pod's, job's or replica set's name without the suffixes that its controller gave it."""
    bare = name.rsplit("/", 1)[-1].strip()
    for _ in range(2):
        cut = _HASHES.sub("", bare)
        if cut == bare or len(cut) < 3:
            break
        bare = cut
    return bare


def target(query: Query) -> str:
    """The component that a read was directed at; for a process, a database or a log that is its resource."""
    arguments = query.arguments
    for name in _NAMES:
        value = arguments.get(name)
        if isinstance(value, str) and value and "*" not in value:
            return workload(value)
    return "" if query.type in {"replay", "prometheus", "repository"} else query.id


def seconds(value: Json) -> int | None:
    """Unix seconds of a time as tools write it: seconds, milliseconds, or ISO 8601; None for anything else."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _whole(int(value))
    if not isinstance(value, str):
        return None
    if re.fullmatch(r"\d{9,11}(\.\d+)?", value):
        return int(value.split(".")[0])
    found = _ISO.search(value)
    try:
        at = datetime.fromisoformat(found[0].replace(",", ".")) if found else None
    except ValueError:
        at = None
    return None if at is None else int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())


def _whole(value: int) -> int | None:
    """Seconds of a count of seconds, milliseconds or nanoseconds since 1970; smaller numbers are no times."""
    for least, unit in ((10**17, 10**9), (10**11, 1000), (10**8, 1)):
        if value > least:
            return value // unit
    return None


def lines(seen: Seen) -> list[Line]:
    """The texts of an answer: lines of plain text, or string leaves of JSON with what stands beside them."""
    found: list[Line] = []
    component = target(seen.query)
    for one in _texts(seen.value, "$", component, DEPTH_MAX):
        found.append(one)
        if len(found) >= LINES_MAX:
            break
    return found


def _texts(value: Json, path: str, component: str, depth: int) -> Iterator[Line]:
    if depth == 0:
        return
    if isinstance(value, str):
        source = "text" if path == "$" else path
        for line in _said(value):
            yield Line(line, source, component, at=seconds(line))
    elif isinstance(value, Mapping):
        yield from _object_texts(value, path, component, depth)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item, f"{path}[*]", component, depth - 1)


def _said(text: str) -> Iterator[str]:
    """Lines that tell what happened: not those that tell what was ordered (commands, variables), nor rules' templates."""
    within = -1
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        if within >= 0 and indent > within:
            continue
        section = _SECTION.match(line)
        within = len(section[1]) if section else -1
        if section is None and line.strip() and not _TEMPLATE.search(line):
            yield line


def _object_texts(value: Mapping[str, Json], path: str, component: str, depth: int) -> Iterator[Line]:
    """Strings of an object, with its time, level and count where it is an entry of a log."""
    when = next((name for name in _TIMES if seconds(value.get(name)) is not None), "")
    at = seconds(value[when]) if when else None
    level = str(value.get("level") or value.get("severity") or "").lower()
    count = value.get("count")
    times = count if isinstance(count, int) and count > 0 else 1
    owner = next((str(value[name]) for name in ("service", "source_identifier", "pod") if value.get(name)), component)
    for name, item in value.items():
        below = f"{path}{_member(name)}"
        if isinstance(item, str) and name not in {when, "level", "severity"}:
            beside = f"{path}{_member(when)}" if when else ""
            for line in _said(item):
                yield Line(line, below, workload(owner), at or seconds(line), beside, level, times)
        elif isinstance(item, (Mapping, list)):
            yield from _texts(item, below, component, depth - 1)


def series(seen: Seen) -> list[Series]:
    """Every series of an answer."""
    found: list[Series] = []
    asked = str(seen.query.arguments.get("metric") or seen.query.arguments.get("query") or "")
    for one in _series(seen.value, "$", target(seen.query), DEPTH_MAX):
        found.append(replace(one, name=asked) if asked and one.name in {"", "points", "values"} else one)
        if len(found) >= SERIES_MAX:
            break
    return found


def _series(value: Json, path: str, component: str, depth: int) -> Iterator[Series]:
    if depth == 0:
        return
    if isinstance(value, Mapping):
        made = _one_series(value, path, component)
        if made is not None:
            yield made
            return
        for name, item in value.items():
            if isinstance(item, (Mapping, list)):
                yield from _series(item, f"{path}{_member(name)}", component, depth - 1)
    elif isinstance(value, list):
        yield from _rows(value, path, component)
        for place, item in enumerate(value):
            if isinstance(item, (Mapping, list)):
                yield from _series(item, f"{path}[{place}]", component, depth - 1)


def _one_series(value: Mapping[str, Json], path: str, component: str) -> Series | None:
    """An object that is a series, or None."""
    labels = _labels(value)
    owner = next((workload(labels[name]) for name in _LABELS if labels.get(name)), component)
    name = str(value.get("metric_name") or labels.get("__name__") or value.get("label") or value.get("name") or "")
    stamps, levels = value.get("timestamps"), value.get("values")
    if isinstance(stamps, list) and isinstance(levels, list) and len(stamps) == len(levels) and stamps:
        points = _points(zip(stamps, levels, strict=True))
        where = f"{path} | series(timestamps[*], values[*])"
        return Series(name or path.rsplit(".", 1)[-1], owner, points, where, labels) if points else None
    for member in ("points", "values"):
        pairs = value.get(member)
        if isinstance(pairs, list) and pairs and all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
            points = _points((pair[0], pair[1]) for pair in pairs)
            return Series(name, owner, points, f"{path}.{member}[*]", labels) if points else None
    return None


def _rows(value: Sequence[Json], path: str, component: str) -> Iterator[Series]:
    """Rows ``{"at": …, "requests": 5, …}``: one series a number and component."""
    rows = [row for row in value if isinstance(row, Mapping)]
    if len(rows) < 3 or len(rows) != len(value):
        return
    when = next((name for name in _TIMES if seconds(rows[0].get(name)) is not None), "")
    if not when:
        return
    whose = next((name for name in ("service", "component", "instance") if isinstance(rows[0].get(name), str)), "")
    for owner in dict.fromkeys(str(row.get(whose)) for row in rows) if whose else (component,):
        chosen = [row for row in rows if not whose or str(row.get(whose)) == owner]
        pick = f'[?{whose}=="{owner}"]' if whose and '"' not in owner else "[*]"
        for name, level in rows[0].items():
            if name == when or not _is_number(level):
                continue
            points = _points((row.get(when), row.get(name)) for row in chosen)
            if len(points) == len(chosen):
                yield Series(name, owner, points, f"{path}{pick} | series({when}, {name})")


def _points(pairs: Any) -> list[Point]:
    """Instants and levels; empty where one of them is neither a time nor a number."""
    points: list[Point] = []
    for stamp, level in pairs:
        at = seconds(stamp)
        if at is None or not _is_number(level):
            return []
        points.append((at, float(level)))
    return points


def _is_number(value: Json) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, str):
        return re.fullmatch(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?", value) is not None
    return isinstance(value, (int, float))


def _labels(value: Mapping[str, Json]) -> dict[str, str]:
    """Labels of a series in any of the shapes."""
    given = value.get("labels") or value.get("metric")
    found = {str(k): str(v) for k, v in given.items()} if isinstance(given, Mapping) else {}
    dimensions = value.get("dimensions")
    for pair in dimensions if isinstance(dimensions, list) else ():
        if isinstance(pair, Mapping) and "Name" in pair:
            found[str(pair["Name"])] = str(pair.get("Value", ""))
    return found


def _member(name: str) -> str:
    return f".{name}" if _PLAIN.fullmatch(name) else "['" + name.replace("'", "") + "']"
