"""Our own lint: refuses Rego on which OPA and regorus differ, and forms that fail open.

The engines agree on well-formed input except where an expression under ``not`` can be undefined in its operands (OPA:
the rule fails; regorus: ``not`` succeeds), and on constructs that only one of them knows. Each rule below names such a
form, says where, and what to write instead. The forms were found by asking both engines; tests ask them again.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from broker.policy import rego
from broker.policy.content import Content
from broker.policy.portable import allowed_builtins
from broker.policy.rego import Node
from broker.policy.regorus import syntax_trees
from broker.policy.signature import canonical

_INTEGER_MAX = 2**53
_PLACE = re.compile(r"-->\s*\S+?:(\d+):")
_FAULT = re.compile(r"error:([^\n]*)")
_DUTIES = frozenset(
    [
        "obligations",
        "obligation",
        "limits",
        "limit",
        "approval",
        "residency",
        "constrain",
        "lease",
        "redact",
        "cap",
        "applicable",
        "regions",
    ]
)
_RIGHTS = frozenset(["allow", "allowed", "grant", "granted", "permit", "permitted", "settled", "complete"])
_HELPER = "name the positive form in a rule of its own and negate that, or give a default with object.get"


class Finding(NamedTuple):
    """One fault: ``file:line``, the rule's name, what is wrong, what to write instead."""

    file: str
    line: int
    rule: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.problem} [{self.rule}]; {self.remedy}"


@dataclass(slots=True)
class _Package:
    """What the modules of one package define together."""

    functions: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    total: set[str] = field(default_factory=set)
    """Rules that always have a value: sets, and those with a default."""


class _Scope(NamedTuple):
    """What a name can mean inside one rule."""

    file: str
    package: _Package
    imports: set[str]
    locals: set[str]


Bodies = Mapping[str, list[dict[str, Any]]]
"""Of one rule, by kind."""
_linted: dict[bytes, list[Finding]] = {}
"""What the lint found, by what it read; findings depend on nothing else, so a process looks at the same text once."""
_LINTED_MAX = 16


async def lint_content(content: Content) -> list[Finding]:
    """All findings in a bundle's Rego, by file and line."""
    read = canonical({"modules": dict(content.modules), "capabilities": dict(content.capabilities)})
    key = hashlib.sha256(read).digest()
    if key not in _linted:
        found = await _lint(content)
        if len(_linted) >= _LINTED_MAX:
            _linted.clear()
        _linted[key] = found
    return list(_linted[key])


async def _lint(content: Content) -> list[Finding]:
    modules = list(content.modules.items())
    found = [finding for path, text in modules for finding in lint_tokens(path, text)]
    parsed = {path: result for (path, _), result in zip(modules, await syntax_trees(modules), strict=True)}
    trees = {path: result["tree"] for path, result in parsed.items() if "tree" in result}
    explained = {finding.file for finding in found}
    broken = [(path, result["error"]) for path, result in parsed.items() if "error" in result and path not in explained]
    found.extend(_syntax_finding(path, error) for path, error in broken)
    packages = _packages(trees)
    allowed = allowed_builtins(content.capabilities)
    for path, tree in trees.items():
        found.extend(_lint_tree(path, tree, content.modules[path].encode(), packages, allowed))
    return sorted(set(found))


def _syntax_finding(path: str, error: str) -> Finding:
    """What regorus says against a file, with its line."""
    place = _PLACE.search(error)
    fault = _FAULT.search(error)
    problem = f"regorus does not read this: {fault.group(1).strip() if fault else 'syntax error'}"
    return Finding(path, int(place.group(1)) if place else 1, "syntax", problem, "see `opa check --strict` too")


def lint_tokens(path: str, text: str) -> Iterator[Finding]:
    """Forms that show in the tokens: syntax that only OPA knows, and numbers that are not exact."""
    before = rego.Token("sign", "", 0)
    for token in rego.tokens(text):
        if token.kind == "template":
            yield Finding(path, token.line, "template-string", "template strings are not portable", "use concat")
        elif token.kind == "number" and not token.text.isdigit():
            yield Finding(path, token.line, "float", f"`{token.text}` is a float", "use integers in a smaller unit")
        elif token.kind == "number" and int(token.text) > _INTEGER_MAX:
            yield Finding(path, token.line, "big-integer", f"`{token.text}` is beyond 2^53", "compare it as text")
        elif token.kind == "name" and token.text in rego.KEYWORDS and before.text == ".":
            remedy = f'write ["{token.text}"]'
            yield Finding(path, token.line, "keyword-reference", f"`.{token.text}` is a keyword", remedy)
        elif token.text == "future" and before.text == "import":
            yield Finding(path, token.line, "future-import", "future keywords are not portable", "drop the import")
        before = token


def _packages(trees: Mapping[str, Node]) -> dict[str, _Package]:
    """What each package defines, over all its files; keyed by its dotted path."""
    packages: dict[str, _Package] = {}
    for tree in trees.values():
        package = packages.setdefault(_package_name(tree), _Package())
        for rule in tree["rules"]:
            shape, reference, arguments = rego.rule_head(rule)
            name = str((rego.path_of(reference) or [""])[0])
            package.names.add(name)
            if shape == "function" or arguments:
                package.functions.add(name)
            elif shape in {"set", "default"} and len(rego.path_of(reference)) == 1:
                package.total.add(name)
    return packages


def _package_name(tree: Node) -> str:
    return ".".join(str(part) for part in rego.path_of(tree["package"]["refr"]))


def _lint_tree(
    path: str, tree: Node, source: bytes, packages: Mapping[str, _Package], allowed: frozenset[str]
) -> Iterator[Finding]:
    """All findings in one module."""
    name = _package_name(tree)
    if name.split(".")[0] != "broker":
        yield Finding(path, 1, "root", f"package `{name}` is outside `broker`", "move it under broker/")
    imports: dict[str, str] = {}
    for each in tree["imports"]:
        target = ".".join(str(part) for part in rego.path_of(each["refr"]))
        alias = rego.text_at(source, each["as"]) if each.get("as") else target.rpartition(".")[2]
        imports[alias] = target
    for rule in tree["rules"]:
        yield from _default_findings(path, rule)
        bodies = rego.by_kind(rule)
        names = _locals(rule, bodies, packages[name].names | set(imports), source)
        scope = _Scope(path, packages[name], set(imports), names)
        for literal in bodies["NotExpr"]:
            yield from _negation_findings(scope, literal)
        yield from _call_findings(scope, bodies["Call"], packages, imports, allowed)
        yield from _reference_findings(scope, bodies)


def _default_findings(path: str, rule: Node) -> Iterator[Finding]:
    """Defaults that turn a missing duty into no duty, or a missing right into a right."""
    if "Default" not in rule:
        return
    _, reference, arguments = rego.rule_head(rule)
    name, value = (rego.path_of(reference) or [""])[0], rule["Default"]["value"]
    line = rego.line_of(rule["Default"])
    if name in _DUTIES:
        remedy = "leave it undefined: a permit must depend on it"
        yield Finding(path, line, "default-duty", f"`default {name}` makes a failed duty look like none", remedy)
    if name in _RIGHTS and not (rego.kind_of(value) == "Bool" and rego.body_of(value)["value"] is False):
        yield Finding(path, line, "default-right", f"`default {name}` is not false", "default to false")
    if name == "decision" and not arguments and not _denies(value):
        yield Finding(path, line, "default-decision", "the default decision is not a deny", 'give effect "deny"')


def _denies(value: Node) -> bool:
    """True for an object literal with ``"effect": "deny"``."""
    if rego.kind_of(value) != "Object":
        return False
    for _, key, item in rego.body_of(value)["fields"]:
        if rego.kind_of(key) == "String" and rego.body_of(key)["value"] == "effect":
            return rego.kind_of(item) == "String" and rego.body_of(item)["value"] == "deny"
    return False


def _locals(rule: Node, bodies: Bodies, outer: set[str], source: bytes) -> set[str]:
    """Names that a rule binds itself: arguments, some, every, assignments, and indexes outside ``not``."""
    _, _, arguments = rego.rule_head(rule)
    bound = rego.variables(arguments)
    for body in bodies["SomeIn"]:
        bound |= rego.variables([body["key"], body["value"]])
    for body in bodies["SomeVars"]:
        bound |= {rego.text_at(source, span) for span in body["vars"]}
    for body in bodies["Every"]:
        bound |= {rego.text_at(source, span) for span in (body["key"], body["value"]) if span}
    positive = rego.by_kind(rule, without="NotExpr")
    for body in positive["AssignExpr"]:
        bound |= rego.variables(body["lhs"]) if body["op"] == "ColEq" else rego.variables([body["lhs"], body["rhs"]])
    for body in positive["RefBrack"]:
        if rego.kind_of(body["index"]) == "Var":
            bound |= rego.variables(body["index"])
    return bound - {"_", "input", "data"} - (outer - rego.variables(arguments))


def _negation_findings(scope: _Scope, literal: Node) -> Iterator[Finding]:
    """Faults of one ``not`` expression."""
    expression, line = literal["expr"], int(literal["span"]["line"])
    known = scope.locals | scope.package.names | scope.imports | {"input", "data"}
    unsafe = sorted(_free_variables(expression) - known)
    if unsafe:
        problem = f"`{unsafe[0]}` under `not` is bound nowhere"
        yield Finding(scope.file, line, "unsafe-variable", problem, "bind it before with some, or use a rule")
    elif not _negatable(scope, expression):
        problem = "an operand under `not` may be undefined, and the engines differ on that"
        yield Finding(scope.file, line, "negated-undefined", problem, _HELPER)


def _free_variables(expression: Node) -> set[str]:
    """Variables of an expression, without those that its comprehensions bind and without names of functions called."""
    inner: set[str] = set()
    for kind in ("ArrayCompr", "SetCompr", "ObjectCompr"):
        for body in rego.found(expression, kind):
            for each in rego.found(body, "SomeIn"):
                inner |= rego.variables([each["key"], each["value"]])
            for each in rego.found(body, "AssignExpr"):
                inner |= rego.variables(each["lhs"])
            for each in rego.found(body, "RefBrack"):
                inner |= rego.variables(each["index"]) if rego.kind_of(each["index"]) == "Var" else set()
    called = {str((rego.path_of(body["fcn"]) or [""])[0]) for body in rego.found(expression, "Call")}
    return rego.variables(expression) - inner - called


def _negatable(scope: _Scope, expression: Node) -> bool:
    """True where both engines agree on ``not expression`` whatever the input holds."""
    kind, body = rego.kind_of(expression), rego.body_of(expression)
    if kind in {"Var", "RefDot", "RefBrack"}:
        return _plain_reference(scope, expression)
    if kind in {"BoolExpr", "AssignExpr"} and body["op"] == "Eq":
        return all(_certain(scope, side) or _plain_reference(scope, side) for side in (body["lhs"], body["rhs"]))
    if kind == "BoolExpr":
        return _certain(scope, body["lhs"]) and _certain(scope, body["rhs"])
    if kind == "Membership":
        parts = [part for part in (body["key"], body["value"], body["collection"]) if part]
        return all(_certain(scope, part) for part in parts)
    if kind == "Call":
        return all(_certain(scope, part) for part in body["params"])
    return _certain(scope, expression)


def _plain_reference(scope: _Scope, node: Node) -> bool:
    """True for a name or a path whose bracketed parts are all certain."""
    return bool(rego.path_of(node)) and all(_certain(scope, index) for index in rego.indexes(node))


def _certain(scope: _Scope, node: Node) -> bool:
    """True for an expression that has a value whatever the input holds."""
    kind = rego.kind_of(node)
    if rego.is_scalar(node) or rego.is_comprehension(node):
        return True
    body = rego.body_of(node)
    if kind == "Var":
        return body["value"] in scope.locals | scope.package.total | {"input"}
    if kind in {"Array", "Set"}:
        return all(_certain(scope, item) for item in body["items"])
    if kind == "Object":
        return all(_certain(scope, part) for _, key, item in body["fields"] for part in (key, item))
    if kind == "Call" and rego.path_of(body["fcn"]) == ["object", "get"]:
        return all(_certain(scope, part) for part in body["params"])
    return False


def _call_findings(
    scope: _Scope,
    calls: Sequence[dict[str, Any]],
    packages: Mapping[str, _Package],
    imports: Mapping[str, str],
    allowed: frozenset[str],
) -> Iterator[Finding]:
    """Calls of anything but our own functions and the portable builtins."""
    for body in calls:
        parts = [str(part) for part in rego.path_of(body["fcn"])]
        name, line = ".".join(parts), int(body["span"]["line"])
        full = ".".join([imports[parts[0]], *parts[1:]]) if parts[0] in imports else name
        package, _, function = full.removeprefix("data.").rpartition(".")
        ours = name in scope.package.functions or function in packages.get(package, _Package()).functions
        if not ours and name not in allowed:
            problem = f"`{name}` is not a portable, pure builtin"
            yield Finding(scope.file, line, "builtin", problem, "put the fact into the input or data, or use another")


def _reference_findings(scope: _Scope, bodies: Bodies) -> Iterator[Finding]:
    """References to data outside the bundle's two roots, and divisions, whose results are floats."""
    for body in bodies["ArithExpr"]:
        if body["op"] == "Div":
            line = int(body["span"]["line"])
            yield Finding(scope.file, line, "division", "a quotient can be a float", "compare products instead")
    nested = {id(rego.body_of(body["refr"])) for kind in ("RefDot", "RefBrack") for body in bodies[kind]}
    for kind in ("Var", "RefDot", "RefBrack"):
        for node in ({kind: body} for body in bodies[kind] if id(body) not in nested):
            parts = rego.path_of(node)
            if parts and parts[0] == "data" and (len(parts) < 2 or parts[1] not in {"broker", "config"}):
                problem = "data outside `broker` and `config` does not exist"
                yield Finding(scope.file, rego.line_of(node), "root", problem, "name data.config.… or data.broker.…")
