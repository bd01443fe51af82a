"""The quick yes beside the exact checks: it never takes what they refuse, and it takes what is commonly sent."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.catalog import Arguments
from broker.shapes import quick_yes, to_the_end

TEXTS = st.sampled_from(["", "a", "aa", "a\n", "ab", "ä", "1", "2.5", "2.5\n", "\ud800", "a" * 9])
VALUES = st.recursive(
    st.one_of(TEXTS, st.integers(-3, 12), st.sampled_from([None, True, False, 1.0, 2.5, 2**70, float("nan")])),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "ab", ""]), inner, max_size=3)
    ),
    max_leaves=8,
)
BOUNDS = st.integers(0, 3)
LEAVES: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from([True, False, {}, {"type": "boolean"}, {"type": "null"}, {"type": "number", "minimum": 1}]),
    st.fixed_dictionaries({"type": st.just("integer")}, optional={"minimum": BOUNDS, "maximum": st.integers(2, 9)}),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["string", ["string", "null"]])},
        optional={
            "minLength": BOUNDS,
            "maxLength": st.integers(1, 8),
            "pattern": st.sampled_from(["^a+$", "a", "^[0-9.]+$", "b$", r"^a\$", r"\w"]),
            "description": st.just("words"),
            "format": st.just("email"),
        },
    ),
    st.fixed_dictionaries({"enum": st.lists(st.sampled_from(["a", "b", 1, True, None]), min_size=1, max_size=3)}),
    st.fixed_dictionaries({"const": st.sampled_from(["a", 1, None, []])}),
    st.fixed_dictionaries({"minLength": BOUNDS}),
)
SCHEMAS: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.fixed_dictionaries(
            {"type": st.just("array")},
            optional={"items": inner, "minItems": BOUNDS, "maxItems": BOUNDS, "uniqueItems": st.booleans()},
        ),
        st.fixed_dictionaries(
            {"type": st.just("object")},
            optional={
                "properties": st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2),
                "required": st.lists(st.sampled_from(["a", "b"]), unique=True, max_size=2),
                "additionalProperties": inner,
                "propertyNames": st.sampled_from([{"type": "string", "maxLength": 1}, {"pattern": "^a"}]),
                "minProperties": BOUNDS,
                "maxProperties": BOUNDS,
            },
        ),
        st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=2)}),
        st.fixed_dictionaries({"oneOf": st.lists(inner, min_size=1, max_size=2)}),
    ),
    max_leaves=5,
)


@given(SCHEMAS.filter(lambda schema: isinstance(schema, dict)), st.lists(VALUES, min_size=1, max_size=6))
def test_a_quick_yes_is_a_yes_of_the_reference(schema: dict[str, Any], values: list[Any]) -> None:
    quick, exact = quick_yes(schema, lambda part: Arguments(part).is_valid), Arguments(schema).is_valid
    assert [value for value in values if quick(value) and not exact(value)] == []


def test_what_is_commonly_sent_needs_no_second_look() -> None:
    asked: list[Any] = []

    def exact(part: Any) -> Any:
        return asked.append

    schema = {
        "type": "object",
        "required": ["id"],
        "additionalProperties": False,
        "properties": {
            "id": {"type": "string", "minLength": 1, "pattern": "^[a-z]+$"},
            "lines": {"type": "integer", "minimum": 1, "maximum": 5000, "default": 100},
            "order": {"enum": ["up", "down"]},
            "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "maxItems": 3},
        },
        "$defs": {"tag": {"type": ["string", "null"], "maxLength": 8}},
    }
    quick = quick_yes(schema, exact)
    assert quick({"id": "checkout", "lines": 7, "order": "up", "tags": ["x", None]})
    assert not quick({"id": "checkout", "lines": 0})
    assert not quick({"id": "checkout", "more": 1})
    assert not quick({"id": "checkout\n"})
    assert asked == []


def test_a_part_without_a_counterpart_is_asked_of_the_exact_check_alone() -> None:
    parts: list[Any] = []

    def exact(part: Any) -> Any:
        parts.append(part)
        return Arguments(part).is_valid

    odd = {"type": "array", "uniqueItems": True}
    quick = quick_yes({"type": "object", "properties": {"a": {"type": "string"}, "b": odd}}, exact)
    assert parts == [odd]
    assert quick({"a": "x", "b": [1, 2]})
    assert not quick({"b": [1, 1]})


def test_a_schema_that_holds_itself_is_followed_to_the_end() -> None:
    tree = {"type": "object", "additionalProperties": {"$ref": "#"}}
    quick = quick_yes(tree, lambda part: lambda value: False)
    assert quick({"a": {"b": {}}})
    assert not quick({"a": {"b": 1}})


@pytest.mark.parametrize(("pattern", "exact"), [("^a$", r"^a\Z"), ("a", "a"), (r"a\$", r"a\$")])
def test_only_a_dollar_that_ends_a_pattern_is_the_end_of_the_text(pattern: str, exact: str) -> None:
    assert to_the_end(pattern) == exact
