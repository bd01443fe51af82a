"""Our compiled checks against the reference implementation, on our schemas and on values that nearly fit them."""

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from broker.errors import BadRequest
from broker.policy.schema import compile_schema
from tests.parts import ROOT

KEYWORDS: list[dict[str, Any]] = [
    {},
    {"type": "integer"},
    {"type": ["string", "null"]},
    {"type": "number", "minimum": 1, "maximum": 3},
    {"const": 1},
    {"const": None},
    {"enum": ["a", 1, True]},
    {"minLength": 1, "maxLength": 2},
    {"pattern": "^a+$"},
    {"items": {"type": "integer"}, "minItems": 1, "maxItems": 2},
    {"uniqueItems": True},
    {"required": ["a"], "properties": {"a": {"type": "integer"}}, "additionalProperties": False},
    {"additionalProperties": {"type": "string"}},
    {"patternProperties": {"^a": {"type": "integer"}}, "additionalProperties": False},
    {"properties": {"a": {"minimum": 2}}, "patternProperties": {"^a": {"type": "integer"}}},
    {"propertyNames": {"maxLength": 1}},
    {"minProperties": 1, "maxProperties": 1},
    {"anyOf": [{"type": "string"}, {"minimum": 2}]},
    {"oneOf": [{"type": "integer"}, {"const": 1}]},
    {"allOf": [{"type": "integer"}, {"minimum": 2}]},
    {"$ref": "#/$defs/tree", "$defs": {"tree": {"type": "array", "items": {"$ref": "#/$defs/tree"}}}},
    {"properties": {"a": False}},
]
VALUES: list[Any] = [
    None, True, False, 0, 1, 2, 3, 4, "", "a", "aa", "aaa", "b", [], [1], [1, 1], [1, 2, 3], ["a"], [[]], [[1]], {},
    {"a": 1}, {"a": 3}, {"a": "x"}, {"b": 1}, {"b": "x"}, {"a": 1, "b": 2}, {"aa": 1}, {"aa": "x"}, [[[]], []],
]  # fmt: skip


@pytest.mark.parametrize("schema", KEYWORDS, ids=json.dumps)
def test_each_keyword_means_what_the_reference_says(schema: dict[str, Any]) -> None:
    ours, theirs = compile_schema(schema), Draft202012Validator(schema)
    differ = [value for value in VALUES if (ours(value) is None) != theirs.is_valid(value)]
    assert differ == []


def mutated(value: Any, chance: random.Random) -> Any:
    """A copy of ``value`` with one place changed."""
    value = copy.deepcopy(value)
    places: list[tuple[Any, Any]] = []

    def collect(node: Any) -> None:
        keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else []
        for key in keys:
            places.append((node, key))
            collect(node[key])

    collect(value)
    node, key = chance.choice(places)
    if isinstance(node, dict) and chance.random() < 0.3:
        del node[key]
    elif isinstance(node, dict) and chance.random() < 0.3:
        node["added"] = 1
    else:
        node[key] = chance.choice(VALUES)
    return value


def test_the_input_schema_of_the_policies_agrees_with_the_reference() -> None:
    schema = json.loads((ROOT / "policies" / "schemas" / "input.v1.schema.json").read_text())
    from broker.policy.content import read_folder
    from broker.policy.golden import read_goldens

    files = read_folder(ROOT / "policies", "1")
    goldens = read_goldens({n: json.loads(c) for n, c in files.items() if n.startswith("golden/")})
    ours, theirs, chance = compile_schema(schema), Draft202012Validator(schema), random.Random(5)
    outcomes = set()
    for golden in chance.sample(goldens, 60):
        for _ in range(10):
            value = mutated(golden.input, chance)
            outcome = ours(value) is None
            assert outcome == theirs.is_valid(value), (golden.where, ours(value))
            outcomes.add(outcome)
    assert outcomes == {True, False}


def test_a_fault_names_the_field_and_the_rule_and_never_the_value() -> None:
    schema = {"properties": {"a": {"items": {"properties": {"b": {"type": "integer"}}}}}}
    check = compile_schema(schema)
    assert check({"a": [{"b": 1}, {"b": "4111111111111111"}]}) == ".a[1].b: is not integer"


@pytest.mark.parametrize(
    "schema",
    [{"if": {}}, {"properties": {"a": {"format": "email"}}}, {"$ref": "#/$defs/absent"}, {"$ref": "other.json"},
     {"type": "text"}, {"dependentRequired": {}}, {"not": {}}],
)  # fmt: skip
def test_a_rule_that_would_be_skipped_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as caught:
        compile_schema(schema)
    assert caught.value.error_code == "policy.bad_schema"


def test_the_schemas_of_the_policies_compile() -> None:
    paths = sorted((ROOT / "policies" / "schemas").rglob("*.json"))
    assert paths
    for path in paths:
        compile_schema(json.loads(Path(path).read_text()))
