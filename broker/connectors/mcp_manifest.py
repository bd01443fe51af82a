"""A server's tools as a manifest for people to review, and what has changed since. Pure.

Everything a server says is shown and nothing of it is believed. Its texts stand as JSON with every character outside of
ASCII escaped, in comments and in the pinned definition: no text ends a comment, hides, or looks like another. A tool
comes in as a write that cannot be undone, on the resource type ``unreviewed``, which no inventory has: such a request
has tier 4 and is denied until a person has said what the tool does, to what, and who may ask for it.
"""

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from broker.connectors.mcp_pins import Definition, faults_of
from broker.model import Json

UNREVIEWED: Final = "unreviewed"
STRING_MAX: Final = 8000
LIST_MAX: Final = 1000
_KEPT: Final = {
    "string": ("minLength", "maxLength"),
    "integer": ("minimum", "maximum"),
    "boolean": (),
    "array": ("minItems", "maxItems"),
    "object": (),
}
_BOUNDS: Final = {"string": {"maxLength": STRING_MAX}, "array": {"maxItems": LIST_MAX}}


@dataclass(frozen=True, slots=True)
class Difference:
    """One tool: ``same``, ``changed``, ``absent``, ``twice``, ``new`` or ``refused``, and what there is to read."""

    tool: str
    state: str
    lines: tuple[str, ...] = ()


def manifest(connector: str, definitions: Iterable[Definition]) -> str:
    """The whole file for a server that has none yet."""
    return "\n".join([
        f"# The tools of the MCP server `{connector}`, as it describes itself. Comments quote the server: nobody checked them.",
        "# For each tool say what it is: effect, reversibility, resource types of the inventory, data classes. Then grant it",
        "# (config/grants) and give it a tier (config/risk). Delete what nobody needs: a tool that is not here does not exist.",
        "schema: broker.manifest/v1",
        f"connector: {connector}",
        "adapter: mcp",
        "actions:",
        *(line for one in definitions for line in entry(connector, one)),
        "",
    ])  # fmt: skip


def entry(connector: str, definition: Definition) -> list[str]:
    """The lines of one tool; of one that cannot be pinned, why."""
    faults = faults_of(definition)
    parts = definition.parts
    shown = _ascii(definition.name)
    if faults:
        return [f"  # {shown} cannot be pinned: {fault}" for fault in faults]
    arguments, template, numbers, unfit = _arguments(parts["inputSchema"])
    if unfit:
        return [f"  # {shown} cannot be pinned: argument {_ascii(unfit)} has no single type, or shares its name"]
    quoted = [f"  #   {key}: {_ascii(parts[key])}" for key in ("title", "description", "annotations") if key in parts]
    return [
        f"  # {shown}, in the server's own words:",
        *quoted,
        f"  {action_name(connector, definition.name)}:",
        f"    title: {_ascii(f'Call {definition.name} of {connector}')}",
        "    effect: write",
        "    reversibility: irreversible",
        "    idempotent: false",
        f"    resource_types: [{UNREVIEWED}]",
        "    arguments:" if arguments else "    arguments: {}",
        *(f"      {name}: {_ascii(rule)}" for name, rule in arguments.items()),
        '    result: {attacker_writable: ["$"], data_classes: [internal]}',
        "    cost: 1",
        "    transport:",
        f"      tool: {shown}",
        f"      arguments: {_ascii(template)}",
        *([f"      numbers: {_ascii(numbers)}"] if numbers else []),
        *_pinned(definition),
    ]


def action_name(connector: str, tool: str) -> str:
    """``<connector>.tool.<name>``, in the catalog's letters."""
    return f"{connector}.tool.{_plain(tool)}"


def compare(document: Mapping[str, Any], live: Mapping[str, Definition], twice: Iterable[str]) -> list[Difference]:
    """A manifest that was read, beside what the server says now."""
    doubled, found, known = frozenset(twice), list[Difference](), set[str]()
    for spec in document["actions"].values():
        transport = spec["transport"]
        tool = str(transport["tool"])
        known.add(tool)
        now = live.get(tool)
        if tool in doubled or now is None:
            found.append(Difference(tool, "twice" if tool in doubled else "absent"))
        elif now.digest == transport["digest"]:
            found.append(Difference(tool, "same"))
        else:
            before = json.loads(transport["definition"])
            lines = difflib.unified_diff(_pretty(before), _pretty(now.parts), "pinned", "now", lineterm="", n=1)
            found.append(Difference(tool, "changed", (*faults_of(now), *lines)))
    for name, definition in live.items():
        if name not in known:
            faults = tuple(faults_of(definition))
            found.append(Difference(name, "refused" if faults else "new", faults or tuple(_pretty(definition.parts))))
    return found


def pinned_again(text: str, document: Mapping[str, Any], live: Mapping[str, Definition]) -> str:
    """``text`` with changed tools pinned as they are now and new ones at the end; what people wrote stays.

    A changed tool that cannot be pinned stays as it was, and so in quarantine.
    """
    tools = {str(spec["transport"]["tool"]): spec["transport"] for spec in document["actions"].values()}
    for tool, transport in tools.items():
        now = live.get(tool)
        if now is not None and now.digest != transport["digest"] and not faults_of(now):
            block = rf"^( +)digest: \"?{transport['digest']}\"?\n\1definition: \|\n(?:\1 +[^\n]*\n)+"
            if (place := re.search(block, text, re.MULTILINE)) is not None:
                text = "\n".join([text[: place.start()] + "\n".join(_pinned(now)), text[place.end() :]])
    added = [line for name, one in live.items() if name not in tools for line in entry(document["connector"], one)]
    return "\n".join([text.rstrip("\n"), *added, ""])


def _arguments(schema: Mapping[str, Any]) -> tuple[dict[str, Json], dict[str, str], list[str], str]:
    """Our arguments, the template that makes the tool's of them, those that are numbers; or the one that has no place."""
    rules: dict[str, Json] = {}
    template: dict[str, str] = {}
    numbers: list[str] = []
    for name, said in schema.get("properties", {}).items():
        ours, rule = _plain(name), _rule(said)
        if rule is None or ours in rules or len(ours) > 64:
            return {}, {}, [], name
        if rule["type"] == "decimal":
            numbers.append(ours)
        if name in schema.get("required", ()):
            rule["required"] = True
        rules[ours], template[name] = rule, f"{{{ours}}}"
    return rules, template, numbers, ""


def _rule(said: Json) -> dict[str, Json] | None:
    """One argument's rule, looser than the pinned schema at most: that one is checked before the call."""
    if not isinstance(said, Mapping):
        return None
    kinds = said.get("type")
    if kinds is None:
        offered = said.get("anyOf", said.get("oneOf", ()))
        options = [one for one in offered if not isinstance(one, Mapping) or one.get("type") != "null"]
        return _rule(options[0]) if len(options) == 1 else None
    named = [kind for kind in (kinds if isinstance(kinds, list) else [kinds]) if kind != "null"]
    if len(named) != 1:
        return None
    if named[0] == "number":
        return {"type": "decimal"}
    if named[0] not in _KEPT:
        return None
    kept = {key: said[key] for key in _KEPT[named[0]] if isinstance(said.get(key), int)}
    choices = said.get("enum")
    if isinstance(choices, list) and all(isinstance(one, str | int) for one in choices):
        kept["enum"] = choices
    return {"type": named[0], **_BOUNDS.get(named[0], {}), **kept}


def _pinned(definition: Definition) -> list[str]:
    pretty = (f"        {line}" for line in _pretty(definition.parts))
    return [f"      digest: {_ascii(definition.digest)}", "      definition: |", *pretty]


def _pretty(parts: Json) -> list[str]:
    return json.dumps(parts, indent=2, sort_keys=True, ensure_ascii=True).split("\n")


def _ascii(value: Json) -> str:
    """JSON, and so YAML, on one line; nothing in it is a control character or outside of ASCII."""
    return json.dumps(value, ensure_ascii=True).replace("\x7f", "\\u007f")


def _plain(name: str) -> str:
    """``readFile`` and ``read-file`` as ``read_file``."""
    told = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    told = re.sub(r"[^a-z0-9]+", "_", told.lower()).strip("_")
    return told if told[:1].isalpha() else f"a_{told}"
