"""What a tool of an MCP server is, pinned: its definition as people reviewed it, its digest, and what it may be sent. Pure.

A definition is the part of a ``tools/list`` entry that a model or a person reads or that shapes a call: name, title,
description, input and output schema, annotations. Its digest is the hex SHA-256 of the canonical JSON (keys sorted, no
white space, UTF-8). The text of a definition is the server's, so anybody's: characters that nobody sees (controls,
bidirectional marks, zero-width, blank and unassigned ones, variation selectors, line and paragraph separators) are refused
wherever they stand. Schemas are the server's, too: ``mcp_schema.py`` bounds what they may ask for.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
from jsonschema.protocols import Validator

from broker.catalog import Action
from broker.connectors import mcp_schema
from broker.connectors.http_template import fill, placeholders
from broker.errors import BadRequest, UpstreamFailed
from broker.model import Json, Resource

DEFINES: Final = ("annotations", "description", "inputSchema", "name", "outputSchema", "title")
TOOL: Final = re.compile(r"[A-Za-z0-9_./-]{1,128}", re.ASCII)
"""Names of the specification (2025-11-25, "Tool Names"): no letter that looks like another."""
_KEYS: Final = frozenset({"tool", "digest", "definition", "arguments", "numbers", "status_of"})
_STATUS_KEYS: Final = frozenset({"tool", "digest", "definition", "arguments", "field", "done", "not_done"})
_BESIDE: Final = frozenset({"resource.id", "resource.env", "resource.region", "action_id"})
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
_IGNORABLE: Final = re.compile(
    "[\\u034f\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f\\u2065\\u3164\\ufe00-\\ufe0f\\uffa0\\ufff0-\\ufff8\\U000e0000-\\U000e0fff]"
)
"""Default_Ignorable_Code_Point (Unicode, DerivedCoreProperties) outside of those categories: shown as nothing."""
_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,9})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Definition:
    """One tool as a server describes it: the canonical bytes, and their digest."""

    name: str
    canonical: bytes
    digest: str

    @classmethod
    def of(cls, tool: Mapping[str, Json]) -> "Definition":
        """From an entry of ``tools/list``; members that no reader of the definition sees are left out."""
        told = {key: tool[key] for key in DEFINES if tool.get(key) is not None}
        canonical = orjson.dumps(told, option=orjson.OPT_SORT_KEYS)
        return cls(str(tool["name"]), canonical, hashlib.sha256(canonical).hexdigest())

    @property
    def parts(self) -> dict[str, Any]:
        """The definition as JSON."""
        told: dict[str, Any] = orjson.loads(self.canonical)
        return told


@dataclass(frozen=True, slots=True)
class Pin:
    """One tool as policy permits it: nothing else of that name is called."""

    tool: str
    digest: str
    arguments: Json
    """Template of the tool's arguments, as a ``body`` of the `http` adapter; ``*`` is all of ours."""
    numbers: frozenset[str]
    """Our arguments that are exact text and leave as JSON numbers."""
    accepts: Validator
    gives: Validator | None

    def render(self, arguments: Mapping[str, Json], resource: Resource, action_id: str) -> dict[str, Json]:
        """The tool's arguments, checked against the pinned schema; raises ``BadRequest`` (``request.arguments``)."""
        ours = {name: _number(value) if name in self.numbers else value for name, value in arguments.items()}
        beside = {
            "resource.id": resource.id,
            "resource.env": resource.env,
            "resource.region": resource.region,
            "action_id": action_id,
        }
        filled = fill(self.arguments, ours, {**ours, **beside})
        wrong = mcp_schema.broken(self.accepts, filled)
        if wrong:
            raise BadRequest(
                f"the arguments break the rule `{wrong}` of tool `{self.tool}` as it was pinned",
                code="request.arguments",
                remedy="send what the tool's input schema asks for",
            )
        told: dict[str, Json] = filled
        return told

    def check(self, structured: Json) -> None:
        """Raise ``UpstreamFailed`` (``upstream.contract``) where an answer is not what the pinned schema says."""
        if self.gives is not None and mcp_schema.broken(self.gives, structured):
            raise UpstreamFailed(
                f"tool `{self.tool}` answered something else than its pinned output schema says",
                code="upstream.contract",
            )


@dataclass(frozen=True, slots=True)
class Probe:
    """The tool that knows whether an action happened: ``field`` of its structured answer, and what means yes and no."""

    pin: Pin
    field: str
    done: tuple[Json, ...]
    not_done: tuple[Json, ...]


@dataclass(frozen=True, slots=True)
class Pinned:
    """One action of a manifest, compiled."""

    pin: Pin
    status_of: Probe | None


def compile_pin(action: Action) -> Pinned:
    """Read ``action.transport`` strictly; raises ``BadRequest`` (``manifest.transport``) that names the key."""
    raw: Mapping[str, Any] = action.transport
    unknown = sorted(set(raw) - _KEYS)
    if unknown:
        raise _wrong(action.name, unknown[0], "is not a key of a transport to an MCP server")
    names = set(action.schema.get("properties", {}))
    probe: Mapping[str, Any] | None = raw.get("status_of")
    if probe is not None and (set(probe) - _STATUS_KEYS or "field" not in probe):
        raise _wrong(action.name, "status_of", f"may have {', '.join(sorted(_STATUS_KEYS))}, and needs field")
    return Pinned(
        _pin(action.name, raw, names),
        None
        if probe is None
        else Probe(
            _pin(action.name, probe, set()),
            probe["field"],
            tuple(probe.get("done", ())),
            tuple(probe.get("not_done", ())),
        ),
    )


def _pin(action: str, raw: Mapping[str, Any], names: set[str]) -> Pin:
    """One pinned tool; the digest must be that of the definition beside it, so that neither is believed alone."""
    try:
        definition = Definition.of(orjson.loads(raw.get("definition", "")))
    except (orjson.JSONDecodeError, TypeError, AttributeError, KeyError):
        raise _wrong(action, "definition", "must be the JSON text of a tool's definition") from None
    for key, found in (("tool", definition.name), ("digest", definition.digest)):
        if raw.get(key) != found:
            raise _wrong(action, key, f"is not that of the definition beside it, `{found}`")
    faults = faults_of(definition)
    if faults:
        raise _wrong(action, "definition", faults[0])
    template = raw.get("arguments", "*")
    missing = sorted(placeholders(template) - names - _BESIDE)
    numbers = frozenset(raw.get("numbers", ()))
    if missing or numbers - names:
        raise _wrong(action, "arguments", f"names `{(missing or sorted(numbers))[0]}`, which the action has not")
    parts = definition.parts
    given = parts.get("outputSchema")
    return Pin(
        tool=definition.name,
        digest=definition.digest,
        arguments=template,
        numbers=numbers,
        accepts=mcp_schema.compiled(parts["inputSchema"]),
        gives=None if given is None else mcp_schema.compiled(given),
    )


def faults_of(definition: Definition) -> list[str]:
    """Why a definition cannot be pinned, in words without its text; empty where it can."""
    parts = definition.parts
    faults = [] if TOOL.fullmatch(definition.name) else ["has a name outside of A-Z, a-z, 0-9, _, -, . and /"]
    faults += [
        f"has a character that nobody sees (U+{ord(hidden):04X}) below `{where}`" for where, hidden in _hidden(parts)
    ]
    for key in ("inputSchema", "outputSchema"):
        if key in parts:
            faults += [f"`{key}`: {fault}" for fault in mcp_schema.faults(parts[key])]
    return faults if "inputSchema" in parts else [*faults, "has no input schema"]


def _hidden(parts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Where a character stands that is not shown; line feeds and tabs are."""
    for where, part in parts.items():
        found = next((c for text in _texts(part) for c in text if _unseen(c)), "")
        if found:
            yield where, found


def _unseen(character: str) -> bool:
    if character in "\n\t":
        return False
    return unicodedata.category(character) in _HIDDEN or _IGNORABLE.fullmatch(character) is not None


def _texts(value: Json) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, below in value.items():
            yield key
            yield from _texts(below)
    elif isinstance(value, list):
        for below in value:
            yield from _texts(below)


def _number(value: Json) -> Json:
    """Exact text as a JSON number: whole where it is."""
    if not isinstance(value, str) or not _NUMBER.fullmatch(value):
        return value
    return float(value) if "." in value else int(value)


def _wrong(action: str, key: str, problem: str) -> BadRequest:
    return BadRequest(
        f"transport of action `{action}`: `{key}` {problem}",
        code="manifest.transport",
        remedy="pin the tool again with `wicketgate policy mcp-pin`, and read what changed",
    )
