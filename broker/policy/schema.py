"""JSON Schema, compiled once: what fits is known in some ten microseconds, what does not fit is named by closures.

Only the keywords below are known; a schema that uses another is refused at compile time, so that no rule is silently
skipped. Meaning as in JSON Schema 2020-12, except that ``pattern`` must be anchored or is searched as written by
Python's ``re``. A fault is the path of the first wrong field and the broken rule, never its value.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from broker.errors import BadRequest
from broker.model import Json
from broker.shapes import quick_yes

Check = Callable[[Any], str | None]
"""None when the value fits, else ``path: rule``; paths are relative, such as ``.subject.id``."""

_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "string": lambda v: isinstance(v, str),
    "boolean": lambda v: isinstance(v, bool),
    "integer": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "number": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool),
    "null": lambda v: v is None,
}
_SILENT = {"$schema", "$id", "$defs", "$comment", "title", "description", "examples", "default"}
_OBJECT = {
    "properties",
    "required",
    "additionalProperties",
    "patternProperties",
    "propertyNames",
    "minProperties",
    "maxProperties",
}
_ARRAY = {"items", "minItems", "maxItems", "uniqueItems"}
_STRING = {"pattern", "minLength", "maxLength"}
_NUMBER = {"minimum", "maximum"}
_ANY = {"type", "enum", "const", "$ref", "anyOf", "oneOf", "allOf"}


def compile_schema(schema: Mapping[str, Json]) -> Check:
    """Compile ``schema``; raises ``BadRequest`` (``policy.bad_schema``) naming an unknown keyword or reference."""
    compiler = _Compiler(schema)
    exact = compiler.node(schema)

    def fits(part: Json) -> Callable[[Any], bool]:
        check = compiler.node(part)
        return lambda value: check(value) is None

    yes = quick_yes(schema, fits)
    return lambda value: None if yes(value) else exact(value)


class _Compiler:
    """One pass over a schema; ``$ref`` resolves inside it and may be recursive."""

    def __init__(self, root: Mapping[str, Json]) -> None:
        self._root = root
        self._refs: dict[str, list[Check]] = {}

    def node(self, schema: Json) -> Check:
        """Compile one subschema."""
        if schema is True:
            return lambda _: None
        if schema is False:
            return lambda _: ": is not allowed"
        unknown = schema.keys() - _SILENT - _OBJECT - _ARRAY - _STRING - _NUMBER - _ANY
        if unknown:
            raise _bad(f"keyword `{min(unknown)}` is not supported")
        plain = _plain(schema)
        if plain is not None:
            return plain
        checks = [*self._any(schema), *_strings(schema), *_numbers(schema)]
        if schema.keys() & _ARRAY:
            checks.append(self._array(schema))
        if schema.keys() & _OBJECT:
            checks.append(self._object(schema))
        return _all(checks)

    def _any(self, schema: Mapping[str, Json]) -> list[Check]:
        """Compile the keywords that hold for every type."""
        checks: list[Check] = []
        if "type" in schema and not _says_type(schema):
            checks.append(_type(schema["type"]))
        if "const" in schema:
            checks.append(_one_of([schema["const"]], "const"))
        if "enum" in schema:
            checks.append(_one_of(schema["enum"], "enum"))
        if "$ref" in schema:
            checks.append(self._ref(schema["$ref"]))
        checks.extend(self.node(part) for part in schema.get("allOf", ()))
        words = [word for word in ("anyOf", "oneOf") if word in schema]
        checks.extend(_choice([self.node(part) for part in schema[word]], word) for word in words)
        return checks

    def _ref(self, pointer: str) -> Check:
        """Compile a reference once; the indirection lets a schema refer to itself."""
        if pointer not in self._refs:
            target: Any = self._root
            for part in pointer.removeprefix("#").strip("/").split("/") if pointer != "#" else ():
                target = target.get(part) if isinstance(target, dict) else None
            if target is None or not pointer.startswith("#"):
                raise _bad(f"reference `{pointer}` leads nowhere")
            self._refs[pointer] = cell = []
            cell.append(self.node(target))
        cell = self._refs[pointer]
        if cell:
            return cell[0]
        return lambda value: cell[0](value)  # noqa: PLW0108 - filled after this line: the schema refers to itself

    def _array(self, schema: Mapping[str, Json]) -> Check:
        low, high = schema.get("minItems", 0), schema.get("maxItems", float("inf"))
        unique = bool(schema.get("uniqueItems"))
        item = self.node(schema.get("items", True))
        other_type = ": is not array" if schema.get("type") == "array" else None

        def check(value: Any) -> str | None:
            if not isinstance(value, list):
                return other_type
            if not low <= len(value) <= high:
                return ": has too few or too many items"
            if unique and len({repr(child) for child in value}) < len(value):
                return ": has equal items"
            for index, child in enumerate(value):
                fault = item(child)
                if fault:
                    return f"[{index}]{fault}"
            return None

        return check

    def _object(self, schema: Mapping[str, Json]) -> Check:
        fields = {key: self.node(part) for key, part in schema.get("properties", {}).items()}
        patterns = [(re.compile(k), self.node(part)) for k, part in schema.get("patternProperties", {}).items()]
        required: Sequence[str] = schema.get("required", ())
        needed = frozenset(required)
        other = self.node(schema.get("additionalProperties", True))
        names = self.node(schema["propertyNames"]) if "propertyNames" in schema else None
        low, high = schema.get("minProperties", 0), schema.get("maxProperties", float("inf"))
        other_type = ": is not object" if schema.get("type") == "object" else None

        def check(value: Any) -> str | None:
            if not isinstance(value, dict):
                return other_type
            if not value.keys() >= needed:
                return f".{next(key for key in required if key not in value)}: is missing"
            if not low <= len(value) <= high:
                return ": has too few or too many fields"
            for key, child in value.items():
                fault = names(key) if names else None
                if not fault:
                    fault = _field(fields, patterns, other, key, child) if patterns else fields.get(key, other)(child)
                if fault:
                    return f".{key}{fault}"
            return None

        return check


def _field(
    fields: Mapping[str, Check], patterns: Sequence[tuple[re.Pattern[str], Check]], other: Check, key: str, child: Any
) -> str | None:
    """The fault of one field, by its own rule, the patterns it fits, or the rule for all others."""
    known = fields.get(key)
    rules = [known] if known else []
    rules += [rule for pattern, rule in patterns if pattern.search(key)]
    for rule in rules or [other]:
        fault = rule(child)
        if fault:
            return fault
    return None


def _all(checks: list[Check]) -> Check:
    """All of ``checks``, with the common short cases unrolled."""
    if not checks:
        return lambda _: None
    if len(checks) == 1:
        return checks[0]
    first, *rest = checks

    def check(value: Any) -> str | None:
        fault = first(value)
        if fault:
            return fault
        for each in rest:
            fault = each(value)
            if fault:
                return fault
        return None

    return check


def _plain(schema: Mapping[str, Json]) -> Check | None:
    """One closure for the commonest leaves, bounded text and whole numbers; None for everything else."""
    words = schema.keys() - _SILENT
    if schema.get("type") == "string" and words <= {"type"} | _STRING:
        low, high = schema.get("minLength", 0), schema.get("maxLength", float("inf"))
        search = re.compile(schema["pattern"]).search if "pattern" in schema else None

        def text(value: Any) -> str | None:
            if not isinstance(value, str):
                return ": is not string"
            if not low <= len(value) <= high:
                return ": is too short or too long"
            return ": breaks `pattern`" if search and not search(value) else None

        return text
    if schema.get("type") == "integer" and words <= {"type"} | _NUMBER:
        least, most = schema.get("minimum", float("-inf")), schema.get("maximum", float("inf"))

        def whole(value: Any) -> str | None:
            if not isinstance(value, int) or isinstance(value, bool):
                return ": is not integer"
            return None if least <= value <= most else ": is out of range"

        return whole
    return None


def _says_type(schema: Mapping[str, Json]) -> bool:
    """Whether the check of the array's or object's own keywords tells its type, too."""
    own = {"array": _ARRAY, "object": _OBJECT}.get(str(schema["type"]), set())
    return bool(schema.keys() & own)


def _type(names: str | list[str]) -> Check:
    wanted = [names] if isinstance(names, str) else names
    if not set(wanted) <= _TYPES.keys():
        raise _bad(f"type `{names}` is not known")
    text = f": is not {' or '.join(wanted)}"
    tests = [_TYPES[name] for name in wanted]
    if len(tests) == 1:
        only = tests[0]
        return lambda value: None if only(value) else text
    return lambda value: None if any(test(value) for test in tests) else text


def _one_of(values: list[Json], word: str) -> Check:
    """Equality as JSON has it: ``1`` is not ``true``."""
    texts = [value for value in values if isinstance(value, str)]
    others = [value for value in values if not isinstance(value, str)]
    known = frozenset(texts)

    def check(value: Any) -> str | None:
        if isinstance(value, str):
            return None if value in known else f": breaks `{word}`"
        fits = any(type(value) is type(each) and value == each for each in others)
        return None if fits else f": breaks `{word}`"

    return check


def _choice(checks: list[Check], word: str) -> Check:
    def check(value: Any) -> str | None:
        fits = sum(each(value) is None for each in checks)
        return None if fits == 1 or (fits and word == "anyOf") else f": breaks `{word}`"

    return check


def _strings(schema: Mapping[str, Json]) -> list[Check]:
    if not schema.keys() & _STRING:
        return []
    low, high = schema.get("minLength", 0), schema.get("maxLength", float("inf"))
    pattern = re.compile(schema.get("pattern", ""))

    def check(value: Any) -> str | None:
        if not isinstance(value, str):
            return None
        if not low <= len(value) <= high:
            return ": is too short or too long"
        return None if pattern.search(value) else ": breaks `pattern`"

    return [check]


def _numbers(schema: Mapping[str, Json]) -> list[Check]:
    if not schema.keys() & _NUMBER:
        return []
    low, high = schema.get("minimum", float("-inf")), schema.get("maximum", float("inf"))

    def check(value: Any) -> str | None:
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            return None
        return None if low <= value <= high else ": is out of range"

    return [check]


def _bad(what: str) -> BadRequest:
    return BadRequest(
        f"a schema of the policy bundle is refused: {what}",
        code="policy.bad_schema",
        remedy="use the keywords that broker/policy/schema.py names",
    )
