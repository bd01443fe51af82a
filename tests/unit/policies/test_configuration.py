"""Configuration, manifests and rules refer to each other; nothing points to what is not there."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from broker.catalog import Catalog
from broker.errors import BadRequest
from broker.policy.lint import lint_content
from tests.unit.policies.engines import content

CONFIG = content().config
CATALOG = Catalog.from_manifests(content().manifests)
ACTIONS = {action.name: action for action in CATALOG.actions()}
RULES = "\n".join(content().modules.values())


@pytest.mark.parametrize("area", sorted(CONFIG))
def test_each_area_of_the_configuration_fits_its_schema(area: str) -> None:
    schema = content().schema(f"config/{area}")
    Draft202012Validator.check_schema(schema)
    assert [error.message for error in Draft202012Validator(schema).iter_errors(CONFIG[area])] == []


def test_an_action_costs_by_a_list_of_its_own_arguments_only() -> None:
    asked = ACTIONS["gate.decision.evaluate"]
    assert [asked.cost_of({"asked": [{}] * number}) for number in (0, 1, 50)] == [1, 1, 50]
    for named in ("semantic", "nothing"):
        spec = {"title": "x", "effect": "read", "reversibility": "reversible", "idempotent": True, "cost_by": named}
        actions = {"a.b.c": {**spec, "arguments": {"semantic": {"type": "string"}}}}
        with pytest.raises(BadRequest) as caught:
            Catalog.from_manifests([{"connector": "a", "actions": actions}])
        assert caught.value.error_code == "manifest.cost_by"


def test_each_manifest_fits_the_manifest_schema() -> None:
    validator = Draft202012Validator(content().schema("manifest.v1"))
    for manifest in content().manifests:
        assert [error.message for error in validator.iter_errors(manifest)] == [], manifest["connector"]
        for name, action in manifest["actions"].items():
            assert name.split(".")[0] == manifest["connector"]
            assert set(action.get("destinations", ())) <= set(action["arguments"]), name


def test_schemas_allow_no_unknown_field() -> None:
    for name in ("input.v1", "decision.v1"):
        assert not list(_open_objects(content().schema(name), "$")), name


LEFT_TO_THE_OPERATOR = {"workstation.tool.use", "workstation.web.read"}
"""Tools of a coding agent that nobody can judge beforehand: granted to nobody as shipped."""


def test_grants_name_declared_actions_and_every_action_is_granted_to_somebody() -> None:
    granted = {action for actions in CONFIG["grants"].values() for action in actions}
    assert granted | LEFT_TO_THE_OPERATOR == set(ACTIONS)
    assert not granted & LEFT_TO_THE_OPERATOR
    assert set(CONFIG["grants"]) == set(CONFIG["roles"])
    for role, actions in CONFIG["grants"].items():
        for name, grant in actions.items():
            assert set(grant["environments"]) <= set(CONFIG["environments"]), (role, name)
            assert set(grant["resource_types"]) <= set(ACTIONS[name].resource_types), (role, name)


def test_every_action_that_configuration_names_is_declared() -> None:
    guardrails, risk = CONFIG["guardrails"], CONFIG["risk"]
    named = {
        *(
            name
            for words in ("persons_only", "while_stopped", "without_reason", "in_session", "without_session")
            for name in guardrails[words]
        ),
        *guardrails["presence_seconds"],
        *risk["floor"],
        *risk["exact"],
        *CONFIG["models"]["calls"],
        *CONFIG["approval"]["actions"],
        *CONFIG["bounds"]["arguments"],
        *CONFIG["bounds"]["cap"]["actions"],
        *CONFIG["disclosure"]["restore"],
        *risk["automatic"]["actions"],
        *(read["action"] for _, read in _sli_reads()),
    }
    assert named <= set(ACTIONS)


def test_service_levels_are_read_by_reads_that_the_gate_may_ask_for() -> None:
    for kind, read in _sli_reads():
        action = ACTIONS[read["action"]]
        assert action.effect.value == "read"
        assert set(read["arguments"]) <= set(action.schema["properties"]), read
        assert set(action.schema["required"]) <= set(read["arguments"]), read
        assert read.get("resource", {"type": kind})["type"] in action.resource_types
        assert action.name in CONFIG["grants"]["gate"]


def test_what_is_automatic_is_a_remedy_that_the_gate_derives_and_can_undo() -> None:
    for name in CONFIG["risk"]["automatic"]["actions"]:
        action = ACTIONS[name]
        assert action.remedy is not None
        assert action.idempotent
        assert action.reversibility == "reversible"
        assert action.rollback is not None
        assert action.rollback["action"] in CONFIG["grants"]["gate"]
        assert set(action.schema["required"]) <= set(action.remedy["arguments"])
    assert set(CONFIG["risk"]["automatic"]["confidence_milli"]) <= set(CONFIG["environments"])


def test_remedies_are_writes_whose_templates_and_preconditions_fit() -> None:
    remedies = [action for action in ACTIONS.values() if action.remedy is not None]
    assert remedies
    for action in remedies:
        remedy = action.remedy
        assert remedy is not None
        assert action.effect.value == "write"
        assert remedy["resource"]["type"] in action.resource_types
        assert set(remedy["arguments"]) <= set(action.schema["properties"])
        assert remedy["verification"]["interval_s"] * 2 <= remedy["verification"]["window_s"]
        if action.rollback is not None:
            assert action.rollback["action"] in CONFIG["grants"]["gate"], action.name
        for condition in remedy.get("preconditions", ()):
            look = ACTIONS[condition["action"]]
            assert look.effect.value == "read"
            assert remedy["resource"]["type"] in look.resource_types
            assert look.name in CONFIG["grants"]["gate"]


def test_bounds_and_restored_arguments_are_arguments_of_their_actions() -> None:
    for area in (CONFIG["bounds"]["arguments"], CONFIG["disclosure"]["restore"]):
        for name, arguments in area.items():
            assert set(arguments) <= set(ACTIONS[name].schema["properties"]), name


def test_zones_classes_and_profiles_are_defined_where_they_are_used() -> None:
    residency, disclosure = CONFIG["residency"], CONFIG["disclosure"]
    zones = set(residency["regions"].values())
    assert {tenant["home"] for tenant in CONFIG["tenants"].values()} <= zones
    for homes in residency["classes"].values():
        assert set(homes) == zones
        assert {zone for allowed in homes.values() for zone in allowed} <= zones
    assert set(disclosure["profile_of_class"]) <= set(residency["classes"])
    assert {*disclosure["profile_of_class"].values(), disclosure["default_profile"]} == set(disclosure["order"])
    assert set(disclosure["order"]) == set(CONFIG["redaction"])
    used = {data_class for action in ACTIONS.values() for data_class in action.data_classes}
    assert used <= set(disclosure["profile_of_class"])
    for provider in CONFIG["providers"].values():
        assert set(provider["regions"]) <= set(residency["regions"])
        assert set(provider["data_classes"]) <= set(residency["classes"])


def test_every_approval_can_be_given_by_a_person() -> None:
    rules = [*CONFIG["approval"]["tiers"], *CONFIG["approval"]["actions"].values()]
    assert [rule["tier"] for rule in CONFIG["approval"]["tiers"]] == [2, 3]
    for rule in rules:
        assert all("human" in CONFIG["roles"][role]["holders"] for role in rule["roles"])
        assert any("gate.review.create" in CONFIG["grants"][role] for role in rule["roles"])


def _counts(bucket: Mapping[str, Any], action: str) -> bool:
    return action.startswith(tuple(bucket["actions"])) and not action.startswith((*bucket["except"], "\0"))


def test_one_request_fits_into_each_bucket() -> None:
    most = max(size for provider in CONFIG["providers"].values() for size in provider["models"].values())
    for name, bucket in CONFIG["limits"].items():
        counted = [one for one in ACTIONS.values() if _counts(bucket, one.name)]
        dearest = max(action.cost for action in counted)
        assert bucket["burst"] >= (most if bucket["cost"] == "max_tokens" else dearest), name


def test_the_rules_give_exactly_the_registered_reasons() -> None:
    assert set(re.findall(r'"code": "([a-z_.]+)"', RULES)) == set(CONFIG["reasons"])


def test_every_rule_that_gives_a_reason_names_it_in_its_metadata() -> None:
    for path, text in content().modules.items():
        for block in re.split(r"\n(?=# METADATA)", text):
            given = set(re.findall(r'"code": "([a-z_.]+)"', block))
            assert given == set(re.findall(r"^#   reason: (\S+)$", block, re.MULTILINE)), path
            assert not given or "# title: " in block, path


def test_every_package_has_a_title_and_owners() -> None:
    for path, text in content().modules.items():
        head = text.partition("\npackage ")[0]
        assert "# title: " in head, path
        assert "#   owners: [security" in head, path


def test_the_entrypoint_is_marked_and_the_only_one() -> None:
    assert [path for path, text in content().modules.items() if "# entrypoint: true" in text] == [
        "broker/main/main.rego"
    ]


def test_every_reference_to_the_configuration_resolves() -> None:
    for path in sorted(set(re.findall(r"data\.config((?:\.[a-z_]+)+)", RULES))):
        here: Any = CONFIG
        for name in path.split(".")[1:]:
            assert name in here, f"data.config{path}"
            here = here[name]


def test_the_rules_stay_within_what_both_engines_read_alike(run: Callable[..., Any]) -> None:
    assert [str(finding) for finding in run(lint_content(content()))] == []


def _sli_reads() -> list[tuple[str, dict[str, Any]]]:
    """Every read that a service level makes, with the type of resource that it stands for."""
    found = []
    for kind, levels in CONFIG["slis"].items():
        for level in levels:
            ((form, value),) = level["value"].items()
            found += [(kind, read) for read in (value if form == "ratio" else [value])]
    return found


def _open_objects(schema: Any, where: str) -> Iterator[str]:
    """Objects with named fields that would accept others."""
    if not isinstance(schema, dict):
        return
    if "properties" in schema and schema.get("additionalProperties") is not False:
        yield where
    for word in ("properties", "$defs"):
        for name, part in schema.get(word, {}).items():
            yield from _open_objects(part, f"{where}.{name}")
    for part in (schema.get("items"), schema.get("additionalProperties"), *schema.get("anyOf", ())):
        yield from _open_objects(part, f"{where}[]")
