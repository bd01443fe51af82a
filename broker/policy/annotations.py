"""The rules of a bundle in their authors' words: the METADATA block above each rule and package.

Specification: OPA's annotations (a comment block that begins with ``# METADATA`` and holds YAML). Read here for people
only; a block that is not plain YAML is shown as it stands.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from broker.errors import BadRequest
from broker.model import Json
from broker.policy.plainyaml import read_yaml

_HEAD = re.compile(r"(?:default\s+)?([A-Za-z_][A-Za-z0-9_]*)")
_PACKAGE = re.compile(r"package\s+([A-Za-z0-9_.]+)")
_START = "# METADATA"


@dataclass(frozen=True, slots=True)
class Rule:
    """One definition with what its author says of it. ``name`` is ``data.…``; ``text`` is its source, ``line`` from 1."""

    name: str
    file: str
    line: int
    title: str
    description: str
    reasons: tuple[str, ...]
    """Codes of ``config/reasons`` that it gives."""
    text: str

    @property
    def is_package(self) -> bool:
        """Whether the words are those of the whole file."""
        return self.text.startswith("package ")


def rules_of(modules: Mapping[str, str]) -> list[Rule]:
    """Every definition of every module, in the order of paths and lines; packages among them."""
    return [rule for path in sorted(modules) for rule in _rules(path, modules[path])]


def _rules(path: str, text: str) -> Iterator[Rule]:
    package = _PACKAGE.search(text)
    prefix = f"data.{package.group(1)}" if package else "data"
    for line, words, source in _definitions(text.split("\n")):
        head = _HEAD.match(source)
        name = head.group(1) if head else ""
        if name and name != "import":
            said = _words(words)
            custom = said.get("custom", {})
            yield Rule(
                name=prefix if name == "package" else f"{prefix}.{name}",
                file=path,
                line=line,
                title=_text(said.get("title")),
                description=_text(said.get("description")),
                reasons=_codes(custom.get("reason") if isinstance(custom, dict) else None),
                text=source,
            )


def _definitions(lines: list[str]) -> Iterator[tuple[int, list[str], str]]:
    """Line, METADATA lines above it, and source of each statement at the left margin; formatted Rego has them there."""
    begins = [at for at, line in enumerate(lines) if line[:1].isalpha() or line.startswith("_")]
    for at, end in zip(begins, [*begins[1:], len(lines)], strict=True):
        source = [line for line in lines[at:end] if not line.startswith("#")]
        yield at + 1, _above(lines, at), "\n".join(source).rstrip()


def _above(lines: list[str], at: int) -> list[str]:
    """The METADATA block that ends right above a line, without its first line."""
    begin = at
    while begin > 0 and lines[begin - 1].startswith("#"):
        begin -= 1
    block = lines[begin:at]
    starts = [number for number, line in enumerate(block) if line.strip() == _START]
    return [line[1:] for line in block[starts[-1] + 1 :]] if starts else []


def _words(block: list[str]) -> dict[str, Json]:
    if not block:
        return {}
    try:
        value = read_yaml("\n".join(block).encode(), "METADATA")
    except BadRequest:
        return {"description": "\n".join(line.strip() for line in block)}
    return value if isinstance(value, dict) else {}


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""


def _codes(value: Json) -> tuple[str, ...]:
    codes = value if isinstance(value, list) else [value]
    return tuple(one for one in codes if isinstance(one, str))
