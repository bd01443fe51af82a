"""Write docs/settings.md, docs/errors.md, docs/metrics.md and docs/attacks.md from the code: ``python -m tests.generate_docs`` (``make docs``).

A code that is not a literal, a module's constant or a factory's argument stops the run: a page that guesses is worse
than none.
"""

import ast
import dataclasses
import functools
import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

import yaml
from pydantic.fields import FieldInfo

from broker import config, errors
from broker.connectors.registry import ADAPTERS
from broker.policy import engine
from broker.sections import Section
from broker.web.problem import status_of
from tests.asvs_page import asvs_page
from tests.attacks.page import attacks_page
from tests.metrics_page import metrics_page

ROOT = Path(__file__).resolve().parent.parent
TABLES_OF_SETTINGS = frozenset({"exchange"})
"""Settings of adapters that are tables of their own."""
CODE = re.compile(r"[a-z]+(\.[a-z0-9_]+)+")
DYNAMIC = {
    "f'approval.{now.state}'": ("approval.expired", "approval.cancelled"),
    "code": ("policy.engine_timeout", "policy.engine_down", "policy.engine_error"),  # why a worker was given up
    "first.code": (),  # policy's own reasons: the second table
}
"""Codes that are put together at run time -> what they can be."""
CLASSES = {
    name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.BrokerError)
}


@functools.cache
def modules() -> Mapping[Path, ast.Module]:
    """Syntax trees of the gate by path."""
    return {path: ast.parse(path.read_text()) for path in sorted((ROOT / "broker").rglob("*.py"))}


# -- errors ------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Factory:
    """A function that makes an error with a code that its caller gives."""

    path: Path
    error: str
    code: int
    remedy: int | None
    default: str
    """The code where the caller gives none."""


def error_rows() -> list[tuple[str, str, int, str]]:
    """Code, class, HTTP status and remedy of every error that the gate's code can raise; sorted by code."""
    found: dict[tuple[str, str], set[str]] = {}
    known = _constants()
    factories = dict(_factories(known))
    for name, kind in CLASSES.items():
        found[kind.code, name] = {kind.remedy}
    for path, tree in modules().items():
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            factory = factories.get(_name(call))
            if factory is not None and not (factory.path == path or _imports(tree, _name(call))):
                factory = None
            for code, error, remedy in _of_call(call, known, factory):
                found.setdefault((code, error), set()).add(remedy or CLASSES[error].remedy)
    rows = []
    for (code, error), remedies in sorted(found.items()):
        status = status_of(CLASSES[error](code=code))
        rows.append((code, error, status, "; or: ".join(sorted(remedies))))
    return rows


def _constants() -> dict[str, str]:
    """Module constants of the gate that hold a code, by name."""
    found = {}
    for tree in modules().values():
        for node in tree.body:
            value = getattr(node, "value", None)
            if isinstance(value, ast.Constant) and isinstance(value.value, str) and CODE.fullmatch(value.value):
                targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
                found.update({one.id: value.value for one in targets if isinstance(one, ast.Name)})
    return found


def _factories(known: Mapping[str, str]) -> Iterator[tuple[str, Factory]]:
    """Functions of modules, by name."""
    for path, tree in modules().items():
        for function in (node for node in tree.body if isinstance(node, ast.FunctionDef)):
            names = [one.arg for one in (*function.args.args, *function.args.kwonlyargs)]
            defaults = dict(zip(reversed(function.args.args), reversed(function.args.defaults), strict=False))
            for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
                given = {one.arg: one.value for one in call.keywords}
                code, error = given.get("code"), _name(call)
                if error not in CLASSES or not isinstance(code, ast.Name) or code.id not in names:
                    continue
                remedy = given.get("remedy")
                default = next((value for arg, value in defaults.items() if arg.arg == code.id), None)
                yield (
                    function.name,
                    Factory(
                        path,
                        error,
                        names.index(code.id),
                        names.index(remedy.id) if isinstance(remedy, ast.Name) and remedy.id in names else None,
                        next(iter(_texts(default, known)), "") if default is not None else "",
                    ),
                )


def _of_call(call: ast.Call, known: Mapping[str, str], factory: Factory | None) -> Iterator[tuple[str, str, str]]:
    """Code, class and remedy of one call; nothing where it makes no error."""
    name = _name(call)
    given = {one.arg: one.value for one in call.keywords}
    if name in CLASSES and "code" in given and not _passes_on(given["code"]):
        remedy = _text(given.get("remedy"))
        yield from ((code, name, remedy) for code in _texts(given["code"], known))
    elif factory is not None and not _is_method(call):
        at = call.args[factory.code] if factory.code < len(call.args) else given.get("code")
        codes = _texts(at, known) if at is not None else (factory.default,)
        remedy = ""
        if factory.remedy is not None and factory.remedy < len(call.args):
            remedy = _text(call.args[factory.remedy])
        for code in codes:
            yield code, factory.error, engine.unavailable(code, "").error_remedy if name == "unavailable" else remedy


def _name(call: ast.Call) -> str:
    return ast.unparse(call.func).rpartition(".")[2]


def _imports(tree: ast.Module, name: str) -> bool:
    return any(one.name == name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for one in node.names)


def _is_method(call: ast.Call) -> bool:
    """``self.records.refusal()`` is no factory, though one has the same name."""
    return isinstance(call.func, ast.Attribute) and not isinstance(call.func.value, ast.Name)


def _passes_on(code: ast.expr) -> bool:
    """A parameter of a factory: its callers are read instead."""
    return isinstance(code, ast.Name) and code.id == "code"


def _texts(node: ast.expr, known: Mapping[str, str]) -> tuple[str, ...]:
    """The codes that an expression can be; raises ``ValueError`` where that cannot be told."""
    match node:
        case ast.Constant(value=str(text)):
            return (text,)
        case ast.Name(id=name) if name in known:
            return (known[name],)
        case ast.Attribute(attr=name) if name in known:
            return (known[name],)
        case ast.IfExp(body=body, orelse=orelse):
            return _texts(body, known) + _texts(orelse, known)
        case _:
            pass
    text = ast.unparse(node)
    if text not in DYNAMIC:
        raise ValueError(f"cannot tell which error codes `{text}` stands for: name them in tests/generate_docs.py")
    return DYNAMIC[text]


def _text(node: ast.expr | None) -> str:
    """A sentence as written, with what is filled in at run time as an ellipsis."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in parts)
        case ast.IfExp(body=body, orelse=orelse):
            return f"{_text(body)}; or: {_text(orelse)}"
        case _:
            return ""


def policy_reasons() -> Mapping[str, Mapping[str, str]]:
    """Reason codes of the policies, with title and remedy."""
    text = (ROOT / "policies/config/reasons/data.yaml").read_text()
    reasons: dict[str, dict[str, str]] = yaml.safe_load(text)
    return reasons


def errors_page() -> str:
    """docs/errors.md."""
    lines = [
        "# Every refusal and failure",
        "",
        "Written by `make docs` from the code; a test compares. Errors are `application/problem+json` (RFC 9457):",
        "`code`, a sentence (`detail`), `reasons` with a remedy each and, where one was made, decision and receipt.",
        "403: policy or a person said no. 503: the gate could not decide, record or scan, and nothing was done.",
        "",
        "## The gate's own codes",
        "",
        "| code | class | HTTP | what to do |",
        "| --- | --- | --- | --- |",
        *(f"| `{code}` | {kind} | {status} | {_cell(remedy)} |" for code, kind, status, remedy in error_rows()),
        "",
        "## Reasons that policy gives",
        "",
        "A denial's `code` is its first reason (class Denied, HTTP 403); `allowlist.granted` stands on permits.",
        "",
        "| code | meaning | what to do |",
        "| --- | --- | --- |",
        *(
            f"| `{code}` | {_cell(one['title'])} | {_cell(one['remedy'])} |"
            for code, one in sorted(policy_reasons().items())
        ),
    ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


# -- settings ----------------------------------------------------------------------------------------------------------


def settings_page() -> str:
    """docs/settings.md."""
    lines = [
        "# Every setting",
        "",
        "Written by `make docs` from `broker/config.py`, `broker/sections.py` and the connectors; a test compares. One TOML file,",
        "`--config`; an unknown key stops the start. Units stand in the names; secrets are given by file path, never by value.",
        "`WICKETGATE_<SECTION>_<KEY>` overrides one scalar of a `[section]`, or a list, parted by commas.",
    ]
    for name, field in config.Settings.model_fields.items():
        section, many = _section(field)
        lines += [
            "",
            f"## `[[{name}]]`" if many else f"## `[{name}]`",
            "",
            (section.__doc__ or "").replace("``", "`"),
            *_table(section),
        ]
        for inner, listed in section.model_fields.items():
            if _is_section(listed):
                nested, _ = _section(listed)
                said = (nested.__doc__ or "").replace("``", "`")
                lines += ["", f"### `[[{name}.{inner}]]`", "", said, *_table(nested)]
                for deep, below in nested.model_fields.items():
                    if _is_section(below):
                        kind, _ = _section(below)
                        said = (kind.__doc__ or "").replace("``", "`")
                        lines += ["", f"#### `[[{name}.{inner}.{deep}]]`", "", said, *_table(kind)]
    for name, adapter in sorted(ADAPTERS.items()):
        lines += ["", f'## `settings` of a connector with `adapter = "{name}"`', "", *_adapter(adapter)]
    return "\n".join(lines) + "\n"


def _section(field: FieldInfo) -> tuple[type[Section], bool]:
    """The model behind a field, and whether it is a list of them."""
    kind = field.annotation
    if isinstance(kind, type) and issubclass(kind, Section):
        return kind, False
    inner = kind.__args__[0]  # type: ignore[union-attr]
    assert issubclass(inner, Section), field
    return inner, True


def _table(section: type[Section]) -> list[str]:
    notes = _notes(Path(inspect.getfile(section)), section.__name__)
    rows = ["", "| key | type | default | |", "| --- | --- | --- | --- |"]
    for name, field in section.model_fields.items():
        if _is_section(field):
            continue
        default = "required" if field.is_required() else _shown(field.get_default(call_default_factory=True))
        kind, note = notes[name]
        rows.append(f"| `{name}` | `{_cell(kind)}` | {default} | {_cell(note)} |")
    return rows


def _is_section(field: FieldInfo) -> bool:
    inner = getattr(field.annotation, "__args__", (field.annotation,))[0]
    return isinstance(inner, type) and issubclass(inner, Section)


def _adapter(adapter: type) -> list[str]:
    """The table of an adapter's frozen dataclass; ``name`` is the connector's own."""
    notes: dict[str, tuple[str, str]] = {}
    for owner in reversed(adapter.__mro__[:-1]):
        module = __import__(owner.__module__, fromlist=["_"])
        notes |= _notes(Path(str(module.__file__)), owner.__name__)
    rows = [(adapter.__doc__ or "").replace("``", "`"), "", "| key | type | default | |", "| --- | --- | --- | --- |"]
    for field in dataclasses.fields(adapter):
        if field.name != "name":
            made = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
            default = "required" if made is dataclasses.MISSING else _shown(made)
            kind, note = notes[field.name]
            rows.append(f"| `{field.name}` | `{_cell(kind)}` | {default} | {_cell(note)} |")
    for name, below in {
        name: kind for name, kind in get_type_hints(adapter).items() if name in TABLES_OF_SETTINGS
    }.items():
        inner = next(one for one in get_args(below) if dataclasses.is_dataclass(one))
        rows += ["", f"### `[connectors.settings.{name}]`", "", *_adapter(inner)]
    return rows


def _notes(path: Path, name: str) -> dict[str, tuple[str, str]]:
    """Annotation and the string below each field of class ``name``, as written."""
    body = next(
        node.body
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and node.name == name
    )
    found: dict[str, tuple[str, str]] = {}
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            says = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            note = str(after.value.value).replace("``", "`") if says else ""  # type: ignore[union-attr]
            found[node.target.id] = ast.unparse(node.annotation), " ".join(note.split())
    return found


def _shown(value: Any) -> str:
    """A default as TOML would have it."""
    match value:
        case None | "" | () | {}:
            return "empty"
        case bool():
            return f"`{str(value).lower()}`"
        case tuple():
            return "`[" + ", ".join(f'"{one}"' for one in value) + "]`"
        case str() | Path():
            return f'`"{value}"`'
        case _:
            return f"`{value}`"


PAGES = {
    ROOT / "docs/settings.md": settings_page,
    ROOT / "docs/errors.md": errors_page,
    ROOT / "docs/metrics.md": metrics_page,
    ROOT / "docs/asvs.md": asvs_page,
    ROOT / "docs/attacks.md": attacks_page,
}

if __name__ == "__main__":
    for path, page in PAGES.items():
        path.write_text(page())
        print(path.relative_to(ROOT))
