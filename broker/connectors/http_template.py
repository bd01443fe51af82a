"""The transport of a manifest, compiled: typed arguments in, one exact request out. Pure.

A transport (``broker/connectors/README.md``) is checked once, when its action is first used: unknown keys, unknown
placeholders and paths that are not plain are ``BadRequest`` (``manifest.transport``). Rendering puts each argument into
exactly one place and one encoding, so that no argument can add a path segment, a query field or a JSON key.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

import orjson

from broker.catalog import Action
from broker.errors import BadRequest
from broker.model import Json, Resource

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
KEYS: Final = frozenset({
    "method", "path", "query", "body", "headers", "ok", "empty", "idempotency_header", "state", "status_of", "result",
})  # fmt: skip
_PLACEHOLDER: Final = re.compile(r"\{([a-z][a-z0-9_.]*)\}", re.ASCII)
_PLAIN_PATH: Final = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@/-]*", re.ASCII)
_STATUS_KEYS: Final = frozenset({"path", "field", "done", "not_done"})
_RESULT_KEYS: Final = frozenset({"rows"})


@dataclass(frozen=True, slots=True)
class Wire:
    """One request as it will be sent, without the credential."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes | None


@dataclass(frozen=True, slots=True)
class Probe:
    """Where to ask whether an action happened: ``field`` of the answer, and the values that mean yes and no."""

    path: str
    field: str
    done: tuple[Json, ...]
    not_done: tuple[Json, ...]


@dataclass(frozen=True, slots=True)
class Transport:
    """One action's way onto the wire."""

    action: str
    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Json = None
    headers: Mapping[str, str] = field(default_factory=dict)
    ok: frozenset[int] = frozenset({200, 201, 202, 204})
    empty: frozenset[int] = frozenset()
    """Statuses that mean: there is nothing, and that is an answer (such as 404 of a lookup)."""
    idempotency_header: str = ""
    state: str = ""
    """Path that reads the state before a write; its answer is the plan's ``before`` and fingerprint."""
    status_of: Probe | None = None
    rows: str = ""
    """Field of the answer that holds the list of rows; an empty list is EMPTY. ``.`` is the answer itself."""

    def render(self, arguments: Mapping[str, Json], resource: Resource, action_id: str) -> Wire:
        """Put the values in place; raises ``BadRequest`` (``request.arguments``) for one that cannot stand there."""
        known = _values(arguments, resource, action_id)
        target = path(self.path, known) + self._query(known)
        body = None if self.body is None else orjson.dumps(fill(self.body, arguments, known), option=_SORTED)
        headers = dict(self.headers)
        if body is not None:
            headers["content-type"] = "application/json"
        headers.setdefault("accept", "application/json")
        if self.idempotency_header:
            headers[self.idempotency_header] = action_id
        return Wire(self.method, target, headers, body)

    def state_target(self, arguments: Mapping[str, Json], resource: Resource) -> str:
        """The path that reads the state, or an empty string."""
        return path(self.state, _values(arguments, resource, "")) if self.state else ""

    def _query(self, known: Mapping[str, Json]) -> str:
        """An argument that is absent or null leaves its field out; a list repeats it."""
        pairs: list[str] = []
        for name, template in self.query.items():
            match = _PLACEHOLDER.fullmatch(template)
            value = known.get(match[1]) if match else text(template, known)
            items = value if isinstance(value, list) else [value]
            key = quote(name, safe="")
            pairs.extend(f"{key}={quote(_scalar(name, item), safe='')}" for item in items if item is not None)
        return "?" + "&".join(pairs) if pairs else ""


_SORTED: Final = orjson.OPT_SORT_KEYS


def compile_transport(action: Action) -> Transport:
    """Read ``action.transport`` strictly; raises ``BadRequest`` (``manifest.transport``) naming the key."""
    raw: Mapping[str, Any] = action.transport
    unknown = sorted(set(raw) - KEYS)
    if unknown:
        raise _wrong(action, unknown[0], "is not a key of a transport")
    if raw.get("method", "GET") not in METHODS:
        raise _wrong(action, "method", f"must be one of {', '.join(sorted(METHODS))}")
    names = set(action.schema.get("properties", {})) | {"resource.id", "resource.env", "resource.region", "action_id"}
    body = raw.get("body")
    templates = [("path", raw.get("path", "")), ("state", raw.get("state", ""))]
    templates += [("query", value) for value in raw.get("query", {}).values()]
    templates += [("body", value) for value in _strings(body)]
    probe = _probe(action, raw.get("status_of"))
    templates += [("status_of", probe.path)] if probe else []
    for key, template in templates:
        missing = [name for name in _PLACEHOLDER.findall(template) if name not in names]
        if missing:
            raise _wrong(action, key, f"names `{missing[0]}`, which is no argument of the action")
        if key in {"path", "state", "status_of"} and not (key == "state" and not template):
            _check_path(action, key, template)
    return Transport(
        action=action.name,
        method=raw.get("method", "GET"),
        path=raw["path"],
        query=raw.get("query", {}),
        body=body,
        headers=raw.get("headers", {}),
        ok=frozenset(raw.get("ok", (200, 201, 202, 204))),
        empty=frozenset(raw.get("empty", ())),
        idempotency_header=raw.get("idempotency_header", ""),
        state=raw.get("state", ""),
        status_of=probe,
        rows=raw.get("result", {}).get("rows", ""),
    )


def path(template: str, known: Mapping[str, Json]) -> str:
    """Fill a path; each value stays inside its segment, and no segment may be empty, ``.`` or ``..``."""
    segments = template.split("/")[1:]
    filled = [
        _PLACEHOLDER.sub(lambda match: quote(_scalar(match[1], known.get(match[1])), safe=""), s) for s in segments
    ]
    for segment, written in zip(filled, segments, strict=True):
        if segment in {".", ".."} or (written and not segment):
            raise BadRequest(
                f"an argument of the path `{template}` cannot stand in a path",
                code="request.arguments",
                remedy="send a non-empty name that is not `.` or `..`",
            )
    return "/" + "/".join(filled)


def text(template: str, known: Mapping[str, Json]) -> str:
    """Fill a text; absent values become empty."""
    return _PLACEHOLDER.sub(lambda match: _scalar(match[1], known.get(match[1], "")), template)


def pick(value: Json, dotted: str) -> Json:
    """Return the member at ``a.b.c``, or None; ``.`` is the value itself."""
    for name in [] if dotted in {"", "."} else dotted.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def rollback_request(
    rule: Mapping[str, Any] | None, arguments: Mapping[str, Json], resource: Resource, before: Json
) -> Mapping[str, Json] | None:
    """The rollback request of a manifest: arguments from ours (``{name}``) or the state before (``{before.a.b}``).

    None where the manifest names none, or where a value it needs is not there: a half rollback is no rollback.
    """
    if rule is None:
        return None
    filled: dict[str, Json] = {}
    for name, template in rule.get("arguments", {}).items():
        match = (
            re.fullmatch(r"\{(before\.)?([A-Za-z_][A-Za-z0-9_.]*)\}", template) if isinstance(template, str) else None
        )
        value = template if match is None else pick(before, match[2]) if match[1] else arguments.get(match[2])
        if value is None:
            return None
        filled[name] = value
    target = {"type": resource.type, "id": resource.id, "env": resource.env}
    return {"action": rule["action"], "resource": target, "arguments": filled}


def _values(arguments: Mapping[str, Json], resource: Resource, action_id: str) -> dict[str, Json]:
    return {
        **arguments,
        "resource.id": resource.id,
        "resource.env": resource.env,
        "resource.region": resource.region,
        "action_id": action_id,
    }


def placeholders(template: Json) -> set[str]:
    """Every name that a body's template asks for."""
    return {name for said in _strings(template) for name in _PLACEHOLDER.findall(said)}


def fill(template: Json, arguments: Mapping[str, Json], known: Mapping[str, Json]) -> Json:
    """Fill a body: ``*`` is all arguments, ``{name}`` alone keeps its type and is left out when absent."""
    if template == "*":
        return dict(arguments)
    if isinstance(template, dict):
        filled = {key: fill(value, arguments, known) for key, value in template.items() if not _absent(value, known)}
        return dict(filled)
    if isinstance(template, list):
        return [fill(value, arguments, known) for value in template if not _absent(value, known)]
    if isinstance(template, str):
        match = _PLACEHOLDER.fullmatch(template)
        return known[match[1]] if match else text(template, known)
    return template


def _absent(template: Json, known: Mapping[str, Json]) -> bool:
    match = _PLACEHOLDER.fullmatch(template) if isinstance(template, str) else None
    return match is not None and match[1] not in known


def _scalar(name: str, value: Json) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int):
        return str(value)
    raise BadRequest(f"field `arguments.{name}` must be one plain value here", code="request.arguments")


def _strings(value: Json) -> list[str]:
    if isinstance(value, str):
        return [value]
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for item in below for text in _strings(item)]


def _probe(action: Action, raw: Mapping[str, Any] | None) -> Probe | None:
    if raw is None:
        return None
    if set(raw) - _STATUS_KEYS or "path" not in raw or "field" not in raw:
        raise _wrong(action, "status_of", "needs path and field, and may have done and not_done")
    return Probe(raw["path"], raw["field"], tuple(raw.get("done", ())), tuple(raw.get("not_done", ())))


def _check_path(action: Action, key: str, template: str) -> None:
    plain = _PLACEHOLDER.sub("x", template)
    if not _PLAIN_PATH.fullmatch(plain) or "//" in plain or {".", ".."} & set(plain.split("/")):
        raise _wrong(action, key, "must be a plain path that starts with one slash")


def _wrong(action: Action, key: str, problem: str) -> BadRequest:
    return BadRequest(
        f"transport of action `{action.name}`: `{key}` {problem}",
        code="manifest.transport",
        remedy="mend the manifest; broker/connectors/README.md lists the keys",
    )
