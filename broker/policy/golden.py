"""Golden decisions: what the policy must answer for named inputs, on every engine.

A file under ``policies/golden/`` holds a list of cases (or one case, or ``cases: […]``). A case:
``{name, base?, input | set, expect}``. ``base`` names an input of ``golden/bases.yaml``, which maps each name to
``{input}`` or to another ``{base, set}``; ``set`` changes it by dotted path (``context.killed: true``; ``null`` for JSON null, a path ending
in ``-`` removes the field); ``input`` is a whole input. ``expect``: ``effect``, and optionally ``tier``, ``reasons``
(codes, as a set), ``factors`` (as a set) and ``obligations`` (compared where given, key by key).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from broker.model import Json
from broker.policy.content import refusal

BASES = "golden/bases.json"
_EXPECTED = {"effect", "tier", "factors", "reasons", "obligations"}
_DEPTH_MAX = 8
_REMEDY = "give each golden a name, base or input, and expect.effect"


@dataclass(frozen=True, slots=True)
class Golden:
    """One case, its input complete. ``where`` is ``file: name``."""

    where: str
    input: Mapping[str, Json]
    expect: Mapping[str, Json]


def read_goldens(files: Mapping[str, Json]) -> list[Golden]:
    """All cases of the ``golden/`` files of a bundle; raises ``BadRequest`` naming a case that is not well formed."""
    bases: Mapping[str, Json] = files.get(BASES, {}).get("bases", {})
    return [_case(name, case, bases) for name in sorted(files) if name != BASES for case in _cases(files[name])]


def mismatch(golden: Golden, raw: Mapping[str, Json]) -> str:
    """What differs between the decision ``raw`` (``broker.decision/v1``) and the expectation; empty when it fits."""
    expect = golden.expect
    found: dict[str, Any] = {
        "effect": raw.get("effect"),
        "tier": raw.get("risk", {}).get("tier"),
        "reasons": sorted({reason.get("code") for reason in raw.get("reasons", ())}),
        "factors": sorted(raw.get("risk", {}).get("factors", ())),
    }
    for key in ("effect", "tier"):
        if key in expect and expect[key] != found[key]:
            return f"{key} is {found[key]!r}, expected {expect[key]!r} (reasons {found['reasons']})"
    for key in ("reasons", "factors"):
        if key in expect and sorted(set(expect[key])) != found[key]:
            return f"{key} are {found[key]}, expected {sorted(set(expect[key]))}"
    if "obligations" in expect:
        return _obligation_mismatch(expect["obligations"], raw.get("obligations", {}))
    return ""


def _obligation_mismatch(expected: Mapping[str, Json], found: Mapping[str, Json]) -> str:
    """Compare the obligations that the case names; ``null`` says that one must be absent."""
    for key, value in expected.items():
        if value is None and key in found:
            return f"obligation {key} is there, expected none"
        if value is not None and not _covers(found.get(key), value):
            return f"obligation {key} is {found.get(key)!r}, expected {value!r}"
    return ""


def _covers(found: Json, expected: Json) -> bool:
    """True when every field of ``expected`` stands in ``found``; lists agree as multisets of covered items."""
    if isinstance(expected, dict):
        return isinstance(found, dict) and all(key in found and _covers(found[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        return (
            isinstance(found, list)
            and len(found) == len(expected)
            and all(any(_covers(item, each) for item in found) for each in expected)
        )
    return type(found) is type(expected) and found == expected


def _cases(document: Mapping[str, Json]) -> list[Mapping[str, Json]]:
    cases: list[Mapping[str, Json]] = document.get("cases", [document])
    return cases


def _case(file: str, case: Mapping[str, Json], bases: Mapping[str, Json]) -> Golden:
    """Make one case complete."""
    where = f"{file}: {case.get('name', '(no name)')}"
    unknown = case.keys() - {"name", "base", "input", "set", "expect", "comment"}
    if unknown or not case.get("name"):
        raise refusal(f"golden {where} has no name, or an unknown field: {sorted(unknown)}", _REMEDY)
    expect = case.get("expect", {})
    if expect.get("effect") not in {"permit", "deny"} or expect.keys() - _EXPECTED:
        raise refusal(f"golden {where} expects no decision, or an unknown field of one", _REMEDY)
    return Golden(where, _input(case, bases, where, depth=0), expect)


def _input(case: Mapping[str, Json], bases: Mapping[str, Json], where: str, depth: int) -> dict[str, Json]:
    """The complete input of a case or base; bases may build on bases, not on themselves."""
    base = case.get("base")
    if depth > _DEPTH_MAX or (base is not None and base not in bases) or ("input" in case) == (base is not None):
        raise refusal(f"golden {where} needs either `input` or a known `base`", _REMEDY)
    value: dict[str, Json] = _copied(case["input"]) if base is None else _input(bases[base], bases, where, depth + 1)
    for path, item in case.get("set", {}).items():
        # A base's own values are shared by all that build on it.
        _set(value, path, _copied(item), where)
    return value


def _copied(value: Json) -> Json:
    """A copy that shares nothing; a bundle's values are JSON, and its reader is quicker than any walk."""
    return orjson.loads(orjson.dumps(value))


def _set(value: Any, path: str, item: Json, where: str) -> None:
    """Change one field by dotted path; list positions are numbers; a last ``-`` removes the field."""
    parts = path.split(".")
    remove = parts[-1] == "-"
    if remove:
        parts.pop()
    try:
        for part in parts[:-1]:
            value = value[int(part)] if isinstance(value, list) else value.setdefault(part, {})
        key = int(parts[-1]) if isinstance(value, list) else parts[-1]
        if remove:
            del value[key]
        else:
            value[key] = item
    except (KeyError, IndexError, ValueError, TypeError, AttributeError):
        raise refusal(f"golden {where} sets `{path}`, which leads nowhere", "mend the path") from None
