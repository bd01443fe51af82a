"""Rego as the lint needs it: tokens with lines, and a walk over regorus' syntax trees.

A tree's nodes are one-key objects (``{"Call": {"span", "fcn", "params"}}``); the functions here give them names, so
that the rules of the lint read as rules.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

Node = Any
"""A part of a syntax tree: an object, an array or a scalar."""

KEYWORDS: Final = frozenset(
    [
        "as",
        "contains",
        "default",
        "else",
        "every",
        "false",
        "if",
        "import",
        "in",
        "not",
        "null",
        "package",
        "some",
        "true",
        "with",
    ]
)
"""Words of the language; no name of a rule or variable."""
_TOKEN = re.compile(
    r"""(?P<comment>\#[^\n]*)
      |(?P<template>\$["`])
      |(?P<raw>`[^`]*`)
      |(?P<text>"(?:[^"\\\n]|\\.)*")
      |(?P<number>[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)
      |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
      |(?P<space>\s+)
      |(?P<sign>.)""",
    re.VERBOSE | re.DOTALL,
)
EXPRESSIONS = frozenset(
    [
        "Array",
        "ArithExpr",
        "ArrayCompr",
        "AssignExpr",
        "BinExpr",
        "Bool",
        "BoolExpr",
        "Call",
        "Membership",
        "Null",
        "Number",
        "Object",
        "ObjectCompr",
        "OrExpr",
        "RawString",
        "RefBrack",
        "RefDot",
        "Set",
        "SetCompr",
        "String",
        "UnaryExpr",
        "Var",
    ]
)
_COMPREHENSIONS = frozenset({"ArrayCompr", "SetCompr", "ObjectCompr"})
_SCALARS = frozenset({"Bool", "Null", "Number", "String", "RawString"})


class Token(NamedTuple):
    """One token; ``kind`` is a group of the pattern above."""

    kind: str
    text: str
    line: int


def pieces(text: str) -> Iterator[tuple[str, str]]:
    """All of a text as ``(kind, text)``, comments and spaces among them: joined, they are the text."""
    for match in _TOKEN.finditer(text):
        yield match.lastgroup or "", match.group()


def tokens(text: str) -> Iterator[Token]:
    """All tokens but comments and spaces."""
    line = 1
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or ""
        if kind not in {"comment", "space"}:
            yield Token(kind, match.group(), line)
        line += match.group().count("\n")


def kind_of(node: Node) -> str:
    """The kind of an expression node, such as ``Call``; empty when it is none."""
    if isinstance(node, dict) and len(node) == 1:
        (kind,) = node
        return kind if kind in EXPRESSIONS else ""
    return ""


def body_of(node: Node) -> dict[str, Any]:
    """The fields of an expression node."""
    (body,) = node.values()
    return body if isinstance(body, dict) else {}


def line_of(node: Node) -> int:
    """The line on which a node begins; 0 when it does not say."""
    if isinstance(node, dict):
        if "span" in node:
            return int(node["span"]["line"])
        for child in node.values():
            found = line_of(child)
            if found:
                return found
    return 0


def text_at(source: bytes, span: Mapping[str, int]) -> str:
    """The source text of a span; spans count bytes."""
    return source[span["start"] : span["end"]].decode()


def walk(node: Node) -> Iterator[Node]:
    """The node and everything below it, in no order that means anything."""
    waiting = [node]
    while waiting:
        each = waiting.pop()
        yield each
        children = each.values() if isinstance(each, dict) else each
        waiting.extend(child for child in children if isinstance(child, (dict, list)))


def found(node: Node, kind: str) -> Iterator[dict[str, Any]]:
    """The bodies of all nodes of ``kind`` at or below ``node``."""
    for each in walk(node):
        if isinstance(each, dict) and kind in each and isinstance(each[kind], dict):
            yield each[kind]


def by_kind(node: Node, without: str = "") -> Mapping[str, list[dict[str, Any]]]:
    """What ``found`` gives for every kind, from one walk; ``without``: nothing that stands under this kind."""
    bodies: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    waiting = [node]
    while waiting:
        each = waiting.pop()
        if isinstance(each, list):
            waiting.extend(child for child in each if isinstance(child, (dict, list)))
            continue
        for key, child in each.items():
            if isinstance(child, (dict, list)) and key != without:
                waiting.append(child)
                if isinstance(child, dict):
                    bodies[key].append(child)
    return bodies


def variables(node: Node) -> set[str]:
    """All variable names at or below ``node``."""
    return {body["value"] for body in found(node, "Var")}


def is_scalar(node: Node) -> bool:
    """True for a literal number, text, boolean or null."""
    return kind_of(node) in _SCALARS


def is_comprehension(node: Node) -> bool:
    """True for array, set and object comprehensions, which are always defined."""
    return kind_of(node) in _COMPREHENSIONS


def path_of(node: Node) -> list[str | None]:
    """A reference as its parts, ``input.a[x]`` -> ``["input", "a", None]``; empty when it is no reference."""
    kind = kind_of(node)
    if kind == "Var":
        return [body_of(node)["value"]]
    if kind == "RefDot":
        body = body_of(node)
        before = path_of(body["refr"])
        return [*before, body["field"][1]] if before else []
    if kind == "RefBrack":
        body = body_of(node)
        before = path_of(body["refr"])
        index = body["index"]
        return [*before, body_of(index)["value"] if kind_of(index) == "String" else None] if before else []
    return []


def indexes(node: Node) -> Iterator[Node]:
    """The bracket expressions of a reference that are not literal text."""
    kind = kind_of(node)
    if kind in {"RefDot", "RefBrack"}:
        body = body_of(node)
        yield from indexes(body["refr"])
        if kind == "RefBrack" and kind_of(body["index"]) != "String":
            yield body["index"]


def rule_head(rule: Mapping[str, Any]) -> tuple[str, Node, list[Node]]:
    """``(shape, reference, arguments)`` of a rule; shape is ``default``, ``function``, ``set`` or ``value``."""
    if "Default" in rule:
        body = rule["Default"]
        return "default", body["refr"], body.get("args", [])
    head = rule["Spec"]["head"]
    if "Func" in head:
        return "function", head["Func"]["refr"], head["Func"]["args"]
    if "Set" in head:
        return "set", head["Set"]["refr"], []
    return "value", head["Compr"]["refr"], []
