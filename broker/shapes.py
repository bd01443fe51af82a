"""A quick yes: JSON Schema as one of pydantic's compiled validators, in front of a check that is exact but slow.

``quick_yes`` never says yes where the exact check would say no. Where it says no, the exact check is asked: it decides,
and it names the fault. What has no counterpart in pydantic's language is left to the exact check of that part alone, so
every schema can be put here, and only its speed differs.
"""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic_core import CoreSchema, SchemaValidator, core_schema

from broker.model import Json

Says = Callable[[Any], bool]
Schema = Mapping[str, Any]
_SILENT = frozenset({"$schema", "$id", "$defs", "$comment", "title", "description", "examples", "default"})

_BOUNDS = {
    "string": frozenset({"pattern", "minLength", "maxLength"}),
    "integer": frozenset({"minimum", "maximum"}),
    "array": frozenset({"items", "minItems", "maxItems"}),
    "object": frozenset({"properties", "required", "additionalProperties", "propertyNames", "minProperties"}),
}
"""Words that bound values of one type and say nothing of others; a word that is left out here is only slower."""


def quick_yes(schema: Schema, exact: Callable[[Json], Says]) -> Says:
    """Compile ``schema``; ``exact(part)`` gives the exact check of a part of it. JSON values only."""
    compiler = _Compiler(schema, exact)
    whole = compiler.node(schema)
    return SchemaValidator(core_schema.definitions_schema(whole, compiler.recursive)).isinstance_python


class _Compiler:
    """One pass over a schema."""

    def __init__(self, root: Schema, exact: Callable[[Json], Says]) -> None:
        self._root = root
        self._exact = exact
        self._inside: list[str] = []
        """References on the way to the present part."""
        self._met: set[str] = set()
        """References that were met inside themselves."""
        self.recursive: list[CoreSchema] = []
        """What those lead to."""

    def node(self, schema: Json) -> CoreSchema:
        """The counterpart of one part."""
        if schema is True or not isinstance(schema, Mapping):
            return core_schema.any_schema() if schema is True else self._slow(schema)
        words = schema.keys() - _SILENT
        if not words:
            return core_schema.any_schema()
        kind = next((each for each in ("$ref", "const", "enum", "anyOf") if words == {each}), schema.get("type"))
        if isinstance(kind, list):
            return core_schema.union_schema([self.node(_as_type(schema, each)) for each in kind], mode="left_to_right")
        compiler = self._parts.get(kind) if isinstance(kind, str) else None
        made = compiler(self, schema, frozenset(words - {"type"})) if compiler else None
        return made or self._slow(schema)

    def _slow(self, schema: Json) -> CoreSchema:
        fits = self._exact(schema)

        def asked(value: Any) -> Any:
            if not fits(value):
                raise ValueError
            return value

        return core_schema.no_info_plain_validator_function(asked)

    def _reference(self, schema: Schema, _: frozenset[str]) -> CoreSchema | None:
        """A part that stands elsewhere, put in here, or named where it holds itself."""
        pointer = schema["$ref"]
        if pointer in self._inside:
            self._met.add(pointer)
            return core_schema.definition_reference_schema(pointer)
        target: Any = self._root
        for step in pointer.removeprefix("#").strip("/").split("/") if pointer != "#" else ():
            target = target.get(step) if isinstance(target, Mapping) else None
        if target is None or not pointer.startswith("#"):
            return None
        self._inside.append(pointer)
        made = self.node(target)
        self._inside.pop()
        if pointer not in self._met:
            return made
        if all(part.get("ref") != pointer for part in self.recursive):
            self.recursive.append({**made, "ref": pointer})
        return core_schema.definition_reference_schema(pointer)

    def _words(self, schema: Schema, words: frozenset[str]) -> CoreSchema | None:
        """One of some texts; other values have no equality that both sides share."""
        known = [schema["const"]] if "const" in words else schema.get("enum")
        if not isinstance(known, list) or not known or not all(type(each) is str for each in known):
            return None
        return core_schema.literal_schema(known) if words <= {"const", "enum"} else None

    def _any_of(self, schema: Schema, _: frozenset[str]) -> CoreSchema | None:
        return core_schema.union_schema([self.node(part) for part in schema["anyOf"]], mode="left_to_right")

    def _string(self, schema: Schema, words: frozenset[str]) -> CoreSchema | None:
        if words <= {"const", "enum"} and words:
            return self._words(schema, words)
        if not words <= _BOUNDS["string"]:
            return None
        # A pattern that fits at the start of the text is also found in it.
        return core_schema.str_schema(
            strict=True,
            min_length=schema.get("minLength"),
            max_length=schema.get("maxLength"),
            regex_engine="python-re",  # a pattern means what Python makes of it, as in the exact checks
            pattern=to_the_end(schema["pattern"]) if "pattern" in schema else None,
        )

    def _integer(self, schema: Schema, words: frozenset[str]) -> CoreSchema | None:
        bounds = schema.get("minimum"), schema.get("maximum")
        if not words <= _BOUNDS["integer"] or not all(type(each) in (int, type(None)) for each in bounds):
            return None
        return core_schema.int_schema(strict=True, ge=bounds[0], le=bounds[1])

    def _boolean(self, _: Schema, words: frozenset[str]) -> CoreSchema | None:
        return None if words else core_schema.bool_schema(strict=True)

    def _null(self, _: Schema, words: frozenset[str]) -> CoreSchema | None:
        return None if words else core_schema.none_schema()

    def _array(self, schema: Schema, words: frozenset[str]) -> CoreSchema | None:
        if not words <= _BOUNDS["array"]:
            return None
        return core_schema.list_schema(
            self.node(schema.get("items", True)),
            strict=True,
            min_length=schema.get("minItems"),
            max_length=schema.get("maxItems"),
        )

    def _object(self, schema: Schema, words: frozenset[str]) -> CoreSchema | None:
        others = schema.get("additionalProperties", True)
        if words <= {"propertyNames", "additionalProperties", "minProperties", "maxProperties"}:
            return core_schema.dict_schema(
                self.node(schema.get("propertyNames", {"type": "string"})),
                self.node(others),
                strict=True,
                min_length=schema.get("minProperties"),
                max_length=schema.get("maxProperties"),
            )
        if not words <= {"properties", "required", "additionalProperties"} or others not in (True, False):
            return None
        fields, required = schema.get("properties", {}), set(schema.get("required", ()))
        if not required <= fields.keys():
            return None
        return core_schema.typed_dict_schema(
            {
                name: core_schema.typed_dict_field(self.node(part), required=name in required)
                for name, part in fields.items()
            },
            strict=True,
            extra_behavior="allow" if others else "forbid",
        )

    _parts = {  # noqa: RUF012 - a table
        "$ref": _reference,
        "const": _words,
        "enum": _words,
        "anyOf": _any_of,
        "string": _string,
        "integer": _integer,
        "boolean": _boolean,
        "null": _null,
        "array": _array,
        "object": _object,
    }


def _as_type(schema: Schema, kind: str) -> Schema:
    """``schema`` for values of one type, without the words that say nothing of it."""
    foreign = frozenset().union(*(words for each, words in _BOUNDS.items() if each != kind))
    return {word: value for word, value in schema.items() if word not in foreign} | {"type": kind}


def to_the_end(pattern: str) -> str:
    """``pattern`` with a last ``$`` that is the end of the text, as JSON Schema means it; Python's lets a line feed follow."""
    return pattern[:-1] + r"\Z" if pattern.endswith("$") and not pattern.endswith(r"\$") else pattern
