"""Why a policy answered as it did: every rule that held for one input, with its place and its METADATA title.

Made for ``policy simulate`` and the console. It always runs on the embedded engine, in a worker of its own, so that a
candidate bundle or a costly question cannot disturb decisions.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from broker.model import Decision, Json
from broker.policy import rego
from broker.policy.bundle import Bundle
from broker.policy.content import Content
from broker.policy.decision import Readings, read_decision
from broker.policy.input import facts_of, prepare, told
from broker.policy.regorus import Bounds, RegorusHost, syntax_trees
from broker.policy.schema import compile_schema

CONFIGURED = ".config"
"""The name under which an area reads its own configuration: a value, no rule that holds."""
_TITLE = re.compile(r"#\s*title:\s*(.+)")


@dataclass(frozen=True, slots=True)
class Held:
    """One rule that had a value other than false or empty; ``title`` is what its author says of it."""

    rule: str
    value: Json
    file: str
    line: int
    title: str
    reads: tuple[str, ...]
    """Paths of the input that its definitions read, such as ``input.resource.env``."""


@dataclass(frozen=True, slots=True)
class Simulation:
    """What would be decided, the rules that held on the way, by name, and what those read of the input, by path."""

    decision: Decision
    held: tuple[Held, ...]
    facts: Mapping[str, Json]


async def simulate(value: Mapping[str, Json], bundle: Bundle) -> Simulation:
    """Decide ``value`` with ``bundle`` and explain it; raises ``PolicyUnavailable`` as a decision does."""
    content = bundle.content
    schema = content.schema("input.v1")
    value = told(value, facts_of(schema))
    ready = prepare(value, compile_schema(schema))
    rules = await _rules(content)
    engine = await RegorusHost(Bounds(workers=1)).start(bundle)
    try:
        answer = await engine.decide(ready.json)
        question = {"input": ready.json.decode(), "rules": list(rules)}
        values: Mapping[str, Json] = orjson.loads(await engine.trace(orjson.dumps(question)))
    finally:
        await engine.aclose()
    decision = read_decision(
        answer.value,
        readings=Readings(content.remedies),
        revision=bundle.revision,
        digest=bundle.digest,
        engine=engine.info.label,
        input_digest=ready.digest,
    )
    held = (Held(name, values[name], *rules[name]) for name in sorted(values) if values[name] not in (False, [], {}))
    shown = tuple(held)
    return Simulation(decision, shown, _facts(value, shown))


def _facts(value: Mapping[str, Json], held: tuple[Held, ...]) -> dict[str, Json]:
    """What the rules that held read of the input; a path that leads nowhere is none."""
    paths = sorted({path for one in held for path in one.reads})
    return {path: _at(value, path.split(".")[1:]) for path in paths}


def _at(value: Json, path: Sequence[str]) -> Json:
    for part in path:
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def _reads(rule: rego.Node) -> set[str]:
    """The whole references into the input at or below a node; ``input.a.b[x].c`` reads ``input.a.b``."""
    if rego.kind_of(rule) in {"RefDot", "RefBrack", "Var"}:
        parts = rego.path_of(rule)
        known = parts[: parts.index(None)] if None in parts else parts
        inside = {path for index in rego.indexes(rule) for path in _reads(index)}
        return inside | ({".".join(map(str, known))} if known[:1] == ["input"] and len(known) > 1 else set())
    children = rule.values() if isinstance(rule, dict) else rule if isinstance(rule, list) else ()
    return {path for child in children if isinstance(child, (dict, list)) for path in _reads(child)}


async def _rules(content: Content) -> dict[str, tuple[str, int, str, tuple[str, ...]]]:
    """``data.broker.…`` of every rule without arguments -> file, line and title of its first definition, and its reads."""
    modules = list(content.modules.items())
    rules: dict[str, tuple[str, int, str, tuple[str, ...]]] = {}
    for (path, text), parsed in zip(modules, await syntax_trees(modules), strict=True):
        tree = parsed.get("tree", {"rules": []})
        lines = text.split("\n")
        for rule in tree["rules"]:
            shape, reference, arguments = rego.rule_head(rule)
            if shape != "function" and not arguments:
                package = rego.path_of(tree["package"]["refr"])
                name = ".".join(["data", *map(str, package), str(rego.path_of(reference)[0])])
                if name.endswith(CONFIGURED):
                    continue
                line = rego.line_of(reference)
                file, first, title, reads = rules.get(name, (path, line, _title(lines, line), ()))
                rules[name] = (file, first, title, tuple(sorted({*reads, *_reads(rule)})))
    return rules


def _title(lines: list[str], line: int) -> str:
    """The ``title`` in the comment block right above a line."""
    above = line - 2
    while above >= 0 and lines[above].startswith("#"):
        title = _TITLE.match(lines[above])
        if title:
            return title.group(1).strip()
        above -= 1
    return ""
