"""Checking with a schema of somebody else's, on an answer of somebody else's: in bounded time, and without leaving it. Pure.

JSON Schema (draft 7, 2019-09, 2020-12) can ask for more work than there is time: references that double, trees that are
walked twice a level, items compared each with each. So every schema that is gone through and every keyword that is tried
cost steps, by the size of what they look at, and a check that runs out of them has failed. Patterns are compiled once and run
in linear time (RE2), items are compared by what they are written as, and a ``$ref`` leads nowhere outside of its own schema.
What can be known at pinning is refused there.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final

import re2
from jsonschema import (
    Draft7Validator,
    Draft201909Validator,
    Draft202012Validator,
    SchemaError,
    ValidationError,
    validators,
)
from jsonschema.exceptions import UnknownType
from jsonschema.protocols import Validator
from referencing import Registry
from referencing.exceptions import Unresolvable

from broker.model import Json

SCHEMA_MAX: Final = 131_072
"""Characters of a schema, written as JSON."""
PATTERN_MAX: Final = 500
PATTERNS_MAX: Final = 64
"""Of one schema."""
_PROGRAM_BYTES_MAX: Final = 1_048_576
"""Of memory that RE2 may use for one pattern: some 10,000 instructions, compiled in milliseconds."""
STEPS_MAX: Final = 500_000
"""Of one check; a few seconds at most, in a thread of its own."""
TRIAL_MAX: Final = 20_000
"""Of the check of an empty object at pinning."""
DEPTH_MAX: Final = 64
"""Levels of what is checked, as deep as redaction looks."""
_DIALECTS: Final = (Draft7Validator, Draft201909Validator, Draft202012Validator)
_LEADS: Final = frozenset({"$ref", "$dynamicRef", "$recursiveRef"})
_UNBOUNDED: Final = frozenset({"patternProperties", "unevaluatedItems", "unevaluatedProperties"})
_COMPARES: Final = frozenset({"const", "dependencies", "dependentRequired", "enum"})
_NAMES: Final = frozenset({"$id", "$schema"})
_NO_SCHEMA: Final = (
    SchemaError,
    Unresolvable,
    UnknownType,
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)
"""What the library raises where a reference leads nowhere, or to a place that nobody checked for being a schema."""
_Keyword = Callable[[Any, Any, Any, Any], Iterator[ValidationError] | None]


class _TooMuch(Exception):
    """The steps of a check are used up, or there are too many levels."""


@dataclass(slots=True)
class _Left:
    """Steps that one check still has; how long the texts of values are that keywords compare with, by identity."""

    steps: int
    lengths: dict[int, int] = field(default_factory=dict)

    def spend(self, steps: int) -> None:
        self.steps -= steps
        if self.steps < 0:
            raise _TooMuch("fewer steps of checking")

    def length(self, value: Json) -> int:
        if id(value) not in self.lengths:
            self.lengths[id(value)] = len(json.dumps(value))
        return self.lengths[id(value)]


_LEFT: ContextVar[_Left] = ContextVar("left")


def compiled(schema: Mapping[str, Any]) -> Validator:
    """A schema without ``faults``, for ``broken``.

    Its own name and dialect are left out: by them a reference to the whole schema would be checked by the library's own
    keywords instead of these.
    """
    dialect = validators.validator_for(schema, default=Draft202012Validator)
    keywords: dict[str, _Keyword] = {**dialect.VALIDATORS, "pattern": _matching(schema), "uniqueItems": _unique}
    counted = {name: _counted(name, keyword) for name, keyword in keywords.items()}
    plain = {key: value for key, value in schema.items() if key not in _NAMES}
    kind: Any = validators.extend(dialect, counted)  # type: ignore[no-untyped-call]
    kind.evolve = _entered(kind.evolve)
    made: Validator = kind(plain, registry=Registry())
    return made


def broken(validator: Validator, value: Json, steps: int = STEPS_MAX) -> str:
    """The first broken rule with its place, never with a value; empty where all hold."""
    try:
        error = _first(validator, value, steps)
    except _NO_SCHEMA:
        return "$ref"
    except (_TooMuch, RecursionError) as error:
        return str(error) if isinstance(error, _TooMuch) else f"at most {DEPTH_MAX} levels"
    if error is None:
        return ""
    where = "".join(
        f".{part}" if isinstance(part, str) and part.isidentifier() else "[*]" for part in error.absolute_path
    )
    return f"{error.validator} at ${where}"


def faults(schema: Json) -> list[str]:
    """What keeps a schema from being checked in bounded time and without leaving it, in words without its text."""
    if not isinstance(schema, dict):
        return ["is no object"]
    if len(json.dumps(schema)) > SCHEMA_MAX:
        return [f"is longer than {SCHEMA_MAX} characters"]
    if len(_patterns(schema)) > PATTERNS_MAX:
        return [f"has more than {PATTERNS_MAX} patterns"]
    found = [fault for key, value in _members(schema) if (fault := _fault(key, value))]
    found += ["has a name or a dialect below its top" for below in schema.values() if _renamed(below)]
    if not isinstance(schema.get("$schema", ""), str):
        return [*found, "has a dialect that is no text"]
    dialect = validators.validator_for(schema, default=Draft202012Validator)
    if dialect not in _DIALECTS:
        found.append("is of a dialect before draft 7")
    if not found:
        try:
            dialect.check_schema(schema)
            _first(compiled(schema), {}, TRIAL_MAX)
        except _NO_SCHEMA as error:
            found.append(f"is no JSON Schema ({type(error).__name__})")
        except (_TooMuch, RecursionError):
            found.append("cannot be checked in bounded time")
    return found


def _first(validator: Validator, value: Json, steps: int = STEPS_MAX) -> ValidationError | None:
    """Raises one of ``_NO_SCHEMA``, ``_TooMuch`` or ``RecursionError``."""
    _bounded(value)
    token = _LEFT.set(_Left(steps))
    try:
        return next(iter(validator.iter_errors(value)), None)
    finally:
        _LEFT.reset(token)


def _bounded(value: Json) -> None:
    """Raise ``_TooMuch`` for more levels than are looked into."""
    level = [value]
    for _ in range(DEPTH_MAX + 1):
        level = [below for one in level for below in _below(one)]
        if not level:
            return
    raise _TooMuch(f"at most {DEPTH_MAX} levels")


def _below(value: Json) -> list[Json]:
    return list(value.values()) if isinstance(value, Mapping) else value if isinstance(value, list) else []


def _members(value: Json) -> Iterator[tuple[str, Json]]:
    if isinstance(value, Mapping):
        yield from value.items()
    for item in _below(value):
        yield from _members(item)


def _fault(key: str, value: Json) -> str:
    if key in _LEADS and not str(value).startswith("#"):
        return f"`{key}` leads out of the schema"
    if key in _LEADS and value != "#" and not str(value).startswith("#/"):
        return f"`{key}` leads to an anchor, which is looked for in the whole schema each time"
    if key in _UNBOUNDED:
        return f"`{key}` cannot be checked in linear time"
    if key == "pattern" and isinstance(value, str) and not _linear(value):
        return f"a `pattern` is longer than {PATTERN_MAX} characters, too large when compiled, or none of RE2"
    return ""


def _renamed(value: Json) -> bool:
    return any(key in _NAMES for key, _ in _members(value))


def _patterns(schema: Json) -> set[str]:
    return {value for key, value in _members(schema) if key == "pattern" and isinstance(value, str)}


def _linear(pattern: str) -> bool:
    return len(pattern) <= PATTERN_MAX and _expression(pattern) is not None


def _expression(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _PROGRAM_BYTES_MAX
    try:
        return re2.compile(pattern, options)
    except re2.error:
        return None


# -- keywords -----------------------------------------------------------------------------------------------------------


def _entered(evolve: Callable[..., Any]) -> Callable[..., Any]:
    """A schema below another is gone through key by key, also by those that no dialect knows, wherever it is tried."""

    def entered(validator: Any, **changes: Any) -> Any:
        below = changes.get("schema")
        _LEFT.get().spend(1 + (len(below) // 16 if isinstance(below, Mapping) else 0))
        return evolve(validator, **changes)

    return entered


def _counted(name: str, keyword: _Keyword) -> _Keyword:
    """``keyword``, paid for before it looks; an error is paid for by its text, which quotes what it is about."""

    def check(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        left = _LEFT.get()
        reads = (
            5 + str(value).count("/") // 2 if name in _LEADS else left.length(value) // 16 if name in _COMPARES else 0
        )
        left.spend(1 + reads + _span(value) + _span(instance))
        for error in keyword(validator, value, instance, schema) or ():
            left.spend(len(error.message) // 256)
            yield error

    return check


def _span(value: Json) -> int:
    if isinstance(value, str):
        return len(value) // 256
    return len(value) // 4 if isinstance(value, Mapping | list) else 0


def _matching(schema: Mapping[str, Any]) -> _Keyword:
    """The keyword for the patterns of one schema; at worst RE2 takes each instruction for each byte."""
    expressions = {pattern: _expression(pattern) for pattern in _patterns(schema)}

    def matches(_: Any, pattern: Any, instance: Any, __: Any) -> Iterator[ValidationError]:
        if not isinstance(instance, str):
            return
        expression = expressions[pattern]
        size = len(instance) if instance.isascii() else 4 * len(instance)
        _LEFT.get().spend(size * expression.programsize // 1024)
        if not expression.search(instance):
            yield ValidationError("does not match")

    return matches


def _unique(_: Any, wanted: Any, instance: Any, __: Any) -> Iterator[ValidationError]:
    if not wanted or not isinstance(instance, list):
        return
    seen: set[str] = set()
    for item in instance:
        told = json.dumps(_plain(item), sort_keys=True)
        _LEFT.get().spend(1 + len(told) // 64)
        if told in seen:
            yield ValidationError("has equal items")
            return
        seen.add(told)


def _plain(value: Json) -> Json:
    """Equal numbers (1 and 1.0) as one."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {key: _plain(below) for key, below in value.items()}
    return [_plain(below) for below in value] if isinstance(value, list) else value
