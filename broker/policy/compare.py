"""Two bundles side by side, for people: files line by line, rules and values in words. Bounded, and it says where it ends."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import unified_diff

import orjson

from broker.model import Json
from broker.policy import archive
from broker.policy.annotations import Rule, rules_of
from broker.policy.bundle import Bundle
from broker.policy.content import Content
from broker.policy.signature import SIGNATURES_FILE

FILES_MAX, LINES_MAX, VALUES_MAX = 60, 250, 300
"""Files that are compared line by line, lines shown of one, values shown of all."""
_LONG_LINES = 5_000
_VALUE_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class FileChange:
    """``kind``: ``added``, ``removed`` or ``changed``; ``lines`` are those of a unified difference, ``more`` left out."""

    path: str
    kind: str
    lines: tuple[str, ...]
    more: int


@dataclass(frozen=True, slots=True)
class RuleChange:
    """A rule that came, went or reads differently; words and place are the newer one's, where there is one."""

    rule: str
    kind: str
    title: str
    reasons: tuple[str, ...]
    file: str
    line: int


@dataclass(frozen=True, slots=True)
class ValueChange:
    """One value of ``config`` by its path; ``before`` or ``after`` is empty where there was none."""

    path: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """All differences; ``more_files`` and ``more_values`` say how many are not among them."""

    files: tuple[FileChange, ...]
    more_files: int
    rules: tuple[RuleChange, ...]
    values: tuple[ValueChange, ...]
    more_values: int


def readable(bundle: Bundle) -> dict[str, str]:
    """Every file of a bundle as people read it, by path: JSON spread over lines, unit tests as Rego again."""
    shown = {}
    for name, content in archive.unpack(bundle.archive).items():
        if name == SIGNATURES_FILE:
            continue
        if name.endswith(".rego"):
            shown[name] = content.decode()
        elif not name.startswith("tests/"):
            shown[name] = json.dumps(orjson.loads(content), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    return dict(sorted({**shown, **bundle.content.tests}.items()))


def compare(old: Bundle, new: Bundle) -> Comparison:
    """What ``new`` changes of ``old``; the revision that each states is not among it."""
    before, after = readable(old), readable(new)
    paths = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    values = list(_values(old.content.config, new.content.config))
    return Comparison(
        files=tuple(_file(path, before.get(path), after.get(path)) for path in paths[:FILES_MAX]),
        more_files=max(0, len(paths) - FILES_MAX),
        rules=tuple(_rules(old.content, new.content)),
        values=tuple(values[:VALUES_MAX]),
        more_values=max(0, len(values) - VALUES_MAX),
    )


def _file(path: str, before: str | None, after: str | None) -> FileChange:
    kind = "added" if before is None else "removed" if after is None else "changed"
    old, new = ((text or "").split("\n") for text in (before, after))
    if max(len(old), len(new)) > _LONG_LINES:
        return FileChange(path, kind, (), len(old) + len(new))
    lines = list(unified_diff(old, new, lineterm="", n=3))[2:]
    return FileChange(path, kind, tuple(lines[:LINES_MAX]), max(0, len(lines) - LINES_MAX))


def _rules(old: Content, new: Content) -> Iterator[RuleChange]:
    before, after = _by_name(old), _by_name(new)
    for name in sorted(before.keys() | after.keys()):
        gone, come = before.get(name, ()), after.get(name, ())
        if [one.text for one in gone] != [one.text for one in come] or _said(gone) != _said(come):
            kind = "changed" if gone and come else "added" if come else "removed"
            yield from (_change(one, kind) for one in _differing(gone, come))


def _differing(gone: Sequence[Rule], come: Sequence[Rule]) -> list[Rule]:
    """The definitions that only one side has; of equal ones whose words changed, all of the newer side."""
    known = {(one.text, one.title) for one in (gone if come else ())}
    differing = [one for one in (come or gone) if (one.text, one.title) not in known]
    return differing or list(come[:1] or gone[:1])


def _change(one: Rule, kind: str) -> RuleChange:
    return RuleChange(one.name, kind, one.title, one.reasons, one.file, one.line)


def _said(rules: Sequence[Rule]) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(one.title, one.description, one.reasons) for one in rules]


def _by_name(content: Content) -> dict[str, list[Rule]]:
    found: dict[str, list[Rule]] = {}
    for rule in rules_of(content.modules):
        if not rule.is_package:
            found.setdefault(rule.name, []).append(rule)
    return found


def _values(old: Mapping[str, Json], new: Mapping[str, Json]) -> Iterator[ValueChange]:
    before, after = dict(_flat("", old)), dict(_flat("", new))
    for path in sorted(before.keys() | after.keys()):
        if before.get(path) != after.get(path):
            yield ValueChange(path, before.get(path, ""), after.get(path, ""))


def _flat(path: str, value: Json) -> Iterator[tuple[str, str]]:
    """Values by dotted path; a list of plain values, and anything empty, is one value."""
    if isinstance(value, dict) and value:
        for name, one in value.items():
            yield from _flat(f"{path}.{name}" if path else name, one)
    elif isinstance(value, list) and any(isinstance(one, (dict, list)) for one in value):
        for number, one in enumerate(value):
            yield from _flat(f"{path}[{number}]", one)
    else:
        text = json.dumps(value, sort_keys=True, ensure_ascii=False)
        kept = text if len(text) <= _VALUE_CHARACTERS else f"{text[:_VALUE_CHARACTERS]} … ({len(text)} characters)"
        yield path, kept
