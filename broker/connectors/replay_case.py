"""A recorded case on disk: ``case.json`` and ``observations.jsonl`` in one folder, read strictly and within bounds.

::

    case.json           {"id", "question", "alert", "window": {"since","until"}, "topology"?, "changes"?}
    observations.jsonl  {"action", "args", "source", "signal", "at", "output", "status"?}     one a line

``alert`` is an object, a text or null. Times are unix seconds or ISO 8601 text. ``topology`` is ``{"nodes": [id or {"id",
"type"?}], "edges": [[from, to]]}`` (``from`` depends on ``to``) or ``{component: [what it depends on]}``. ``changes`` is
a list of objects, ``{"at","component"?,"text"?,"commit"?,"paths"?}`` among others. ``output`` is text or JSON as the tool
gave it; ``status`` (``ok``, ``empty``, ``truncated``, ``error``) tells what it was, by default ``empty`` for nothing.

Raises ``BadRequest`` (``replay.case``) that names file, line and field. Symbolic links are not followed.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson

from broker.errors import BadRequest
from broker.model import Json

SIGNALS: Final = ("metric", "log", "change", "state", "config", "trace", "alert")
STATUSES: Final = ("ok", "empty", "truncated", "error")
CASE_BYTES_MAX: Final = 1_048_576
FILE_BYTES_MAX: Final = 67_108_864
ENTRIES_MAX: Final = 2000
OUTPUT_BYTES_MAX: Final = 2_097_152
"""What one answer may hold; a larger text is cut and its status is ``truncated``."""
OWN: Final = ("replay.observation.list", "replay.change.list", "replay.alert.read")
"""What the case itself answers."""
_CASE: Final = frozenset({"id", "question", "alert", "window", "topology", "changes"})
_ENTRY: Final = frozenset({"action", "args", "source", "signal", "at", "output", "status"})
_NAME: Final = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")
_TARGETS: Final = (
    *("service", "component", "workload", "deployment", "app", "app_name", "pod", "pod_name", "name", "resource_name"),
    *("db_instance_identifier", "db_instance", "instance", "statefulset", "job_name", "keyword", "job", "node", "host"),
)
"""Members of alerts and arguments that name a component."""
_EMPTY: Final[tuple[Json, ...]] = (None, "", [], {})


@dataclass(frozen=True, slots=True)
class Entry:
    """One recorded answer. ``action`` and ``args`` are as they are called here, ``recorded`` as the file names it."""

    action: str
    recorded: str
    args: Mapping[str, Json]
    source: str
    resource: str
    signal: str
    at: int
    output: Json
    status: str


@dataclass(frozen=True, slots=True)
class Case:
    """One case; ``since`` and ``until`` are unix seconds."""

    id: str
    question: str
    alert: Mapping[str, Json]
    since: int
    until: int
    edges: Sequence[tuple[str, str]]
    nodes: Sequence[str]
    changes: Sequence[Mapping[str, Json]]
    entries: Sequence[Entry]
    described: bool = field(default=False)
    """True where the case brings its own topology."""


def read_case(folder: Path) -> Case:
    """Read the folder; raises ``BadRequest`` (``replay.case``)."""
    given = _object(_bytes(folder, "case.json", CASE_BYTES_MAX), "case.json", _CASE)
    if not isinstance(given.get("id"), str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", given["id"]):
        raise _wrong("case.json", "id", "a name of letters, digits, `.`, `_` and `-`, at most 80")
    window = given.get("window")
    if not isinstance(window, Mapping) or set(window) != {"since", "until"}:
        raise _wrong("case.json", "window", '{"since": …, "until": …}')
    since, until = (_time(window[name], "case.json", f"window.{name}") for name in ("since", "until"))
    if since >= until:
        raise _wrong("case.json", "window", "since before until")
    changes = given.get("changes") or []
    if not isinstance(changes, list) or not all(isinstance(one, Mapping) for one in changes):
        raise _wrong("case.json", "changes", "a list of objects")
    nodes, edges = _topology(given.get("topology"))
    entries = _signalled(_entries(_bytes(folder, "observations.jsonl", FILE_BYTES_MAX)))
    return Case(
        id=given["id"],
        question=str(given.get("question") or ""),
        alert=_alert(given.get("alert")),
        since=since,
        until=until,
        edges=edges,
        nodes=nodes,
        changes=changes,
        entries=entries,
        described=bool(nodes or edges),
    )


def affected(case: Case) -> str:
    """The component that the case is about: what its alert names, or its question, or what most calls were directed at."""
    known = dict.fromkeys([*case.nodes, *targets(case)])
    named = [value for value in _named(case.alert, 3) if value]
    for value in named:
        if value in known:
            return value
    words = " ".join([case.question, str(case.alert.get("title", "")), str(case.alert.get("description", ""))])
    mentioned = [one for one in known if re.search(rf"(?<![A-Za-z0-9]){re.escape(one)}(?![A-Za-z0-9])", words)]
    if mentioned:
        return max(mentioned, key=len)
    short = [one for one in known if any(one.startswith(f"{word}-") for word in re.findall(r"[A-Za-z][\w.-]+", words))]
    return (named or short or list(known) or [case.id])[0]


def targets(case: Case) -> list[str]:
    """Names of the things that the recorded calls were directed at, most often named first."""
    counts: dict[str, int] = {}
    for entry in case.entries:
        for name in _TARGETS:
            value = entry.args.get(name)
            if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,119}", value):
                counts[value] = counts.get(value, 0) + 1
    return sorted(counts, key=lambda one: -counts[one])


def _named(given: Json, depth: int) -> Iterator[str]:
    """Texts of an alert's members that name a component, outermost first."""
    if not isinstance(given, Mapping) or depth == 0:
        return
    for name in (*_TARGETS, "alert_service"):
        if isinstance(given.get(name), str):
            yield given[name]
    for value in given.values():
        yield from _named(value, depth - 1)


def _bytes(folder: Path, name: str, most: int) -> bytes:
    """A plain file of the folder, whole."""
    path = folder / name
    if path.is_symlink() or not path.is_file():
        raise _wrong(name, "", f"a plain file in {folder}")
    if path.stat().st_size > most:
        raise _wrong(name, "", f"at most {most} bytes")
    return path.read_bytes()


def _object(content: bytes, where: str, known: frozenset[str]) -> dict[str, Json]:
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise _wrong(where, "", f"JSON ({error.msg})") from None
    if not isinstance(value, dict):
        raise _wrong(where, "", "an object")
    if unknown := sorted(set(value) - known):
        raise _wrong(where, unknown[0][:40], f"one of {', '.join(sorted(known))}")
    return value


def _entries(content: bytes) -> Iterator[Entry]:
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        where = f"observations.jsonl line {number}"
        if number > ENTRIES_MAX:
            raise _wrong(where, "", f"at most {ENTRIES_MAX} lines")
        yield _entry(_object(line, where, _ENTRY), where)


def _entry(given: Mapping[str, Json], where: str) -> Entry:
    for name in ("action", "source"):
        if not isinstance(given.get(name), str) or not given[name] or len(given[name]) > 200:
            raise _wrong(where, name, "a text of 1 to 200 characters")
    if given.get("signal") not in SIGNALS:
        raise _wrong(where, "signal", f"one of {', '.join(SIGNALS)}")
    args = given.get("args")
    if not isinstance(args, Mapping) or len(args) > 64:
        raise _wrong(where, "args", "an object of at most 64 members")
    output, status = given.get("output"), given.get("status")
    if status is not None and status not in STATUSES:
        raise _wrong(where, "status", f"one of {', '.join(STATUSES)}")
    output, cut = _bounded(output, where)
    status = status or ("empty" if output in _EMPTY else "ok")
    return Entry(
        action=callable_name(given["action"]),
        recorded=given["action"],
        args=callable_args(args),
        source=given["source"],
        resource=slug(given["source"]),
        signal=given["signal"],
        at=_time(given.get("at", 0), where, "at") if given.get("at") is not None else 0,
        output=output,
        status="truncated" if cut and status == "ok" else status,
    )


def _bounded(output: Json, where: str) -> tuple[Json, bool]:
    """An output that an observation can hold; a text is cut at a line's end."""
    if isinstance(output, str):
        encoded = output.encode("utf-8", errors="replace")
        if len(encoded) <= OUTPUT_BYTES_MAX:
            return output, False
        kept = encoded[:OUTPUT_BYTES_MAX].decode("utf-8", errors="ignore")
        return kept[: kept.rfind("\n") + 1] or kept, True
    if len(orjson.dumps(output)) > OUTPUT_BYTES_MAX:
        raise _wrong(where, "output", f"at most {OUTPUT_BYTES_MAX} bytes of JSON")
    return output, False


def _signalled(entries: Iterator[Entry]) -> list[Entry]:
    """An action has one signal class in a catalog: entries of another class are called by a name of their own."""
    first: dict[str, str] = {}
    found = []
    for entry in entries:
        usual = first.setdefault(entry.action, entry.signal)
        found.append(entry if usual == entry.signal else replace(entry, action=f"{entry.action}_{entry.signal}"))
    return found


def callable_name(recorded: str) -> str:
    """An action's name in the catalog's grammar: three words of small letters, digits and ``_``."""
    if recorded in OWN:
        return f"recorded.{recorded.replace('.', '_')}.read"
    if _NAME.fullmatch(recorded):
        return recorded
    words = [word for word in re.split(r"[^a-z0-9_]+", recorded.lower()) if word]
    words = [word if word[0].isalpha() else f"n{word}" for word in words] or ["tool"]
    if len(words) == 1:
        return f"recorded.{words[0]}.read"
    return f"{words[0]}.{words[1]}.read" if len(words) == 2 else f"{words[0]}.{words[1]}.{'_'.join(words[2:])}"


def callable_args(args: Mapping[str, Json]) -> dict[str, Json]:
    """Arguments in the catalog's grammar; nothing is not given, and a number with a fraction is decimal text."""
    found: dict[str, Json] = {}
    for name, value in args.items():
        if value is None:
            continue
        plain = re.sub(r"[^a-z0-9_]+", "_", str(name).lower()).strip("_")[:60] or "value"
        found[plain if plain[0].isalpha() else f"n{plain}"] = _exact(value)
    return found


def _exact(value: Json) -> Json:
    """``value`` as a digest can hold it: texts, booleans and whole numbers as they are, all else as its JSON text."""
    if isinstance(value, (str, bool)) or (isinstance(value, int) and abs(value) < 2**53):
        return value
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def slug(text: str) -> str:
    """A source's name as the id of a resource."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-")[:120] or "source"


def _alert(given: Json) -> Mapping[str, Json]:
    if given is None:
        return {}
    if isinstance(given, str):
        return {"title": given} if given.strip() else {}
    if not isinstance(given, Mapping):
        raise _wrong("case.json", "alert", "an object, a text or null")
    return given


def _topology(given: Any) -> tuple[list[str], list[tuple[str, str]]]:
    """Nodes and edges, in either form; an edge that closes a circle is left out."""
    nodes: dict[str, None] = {}
    edges: list[tuple[str, str]] = []
    if given is None:
        return [], []
    if not isinstance(given, Mapping):
        raise _wrong("case.json", "topology", "an object")
    if set(given) <= {"nodes", "edges"}:
        for node in given.get("nodes") or []:
            nodes[_name(node.get("id") if isinstance(node, Mapping) else node)] = None
        pairs = [_pair(edge) for edge in given.get("edges") or []]
    else:
        pairs = [(_name(one), _name(to)) for one, behind in given.items() for to in _names(behind)]
        nodes |= dict.fromkeys(map(_name, given))
    for one, to in pairs:
        nodes |= {one: None, to: None}
        if one != to and (one, to) not in edges and not _leads(edges, to, one):
            edges.append((one, to))
    return list(nodes), edges


def _pair(edge: Any) -> tuple[str, str]:
    if isinstance(edge, Mapping) and {"from", "to"} <= set(edge):
        edge = [edge["from"], edge["to"]]
    if not isinstance(edge, list) or len(edge) != 2:
        raise _wrong("case.json", "topology.edges", "pairs [from, to]")
    return _name(edge[0]), _name(edge[1])


def _names(given: Any) -> list[Any]:
    if not isinstance(given, list):
        raise _wrong("case.json", "topology", '{"nodes","edges"}, or {component: [what it depends on]}')
    return given


def _name(given: Any) -> str:
    if not isinstance(given, str) or not given or len(given) > 200:
        raise _wrong("case.json", "topology", "names of 1 to 200 characters")
    return given


def _leads(edges: Sequence[tuple[str, str]], start: str, end: str) -> bool:
    """True where ``edges`` lead from ``start`` to ``end``."""
    reached, open_ = {start}, [start]
    while open_:
        here = open_.pop()
        if here == end:
            return True
        for one, to in edges:
            if one == here and to not in reached:
                reached.add(to)
                open_.append(to)
    return False


def _time(given: Any, where: str, name: str) -> int:
    """Unix seconds."""
    if isinstance(given, (int, float)) and not isinstance(given, bool) and given >= 0:
        return int(given / 1000 if given > 1e11 else given)
    if isinstance(given, str):
        if re.fullmatch(r"\d{1,12}", given):
            return int(given)
        try:
            at = datetime.fromisoformat(given)
        except ValueError:
            pass
        else:
            return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())
    raise _wrong(where, name, "unix seconds or ISO 8601 text")


def _wrong(where: str, name: str, what: str) -> BadRequest:
    at = f"{where}: field `{name}`" if name else where
    return BadRequest(
        f"recorded case: {at} must be {what}", code="replay.case", remedy="see broker/connectors/README.md"
    )
