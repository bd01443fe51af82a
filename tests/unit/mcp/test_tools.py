"""Actions as tools."""

import re

import pytest
from jsonschema import Draft202012Validator

from broker.catalog import Action, Catalog
from broker.model import Effect, Resource
from broker.offers import Offer
from broker.web.mcp import tools


def action(name: str, **more: object) -> Action:
    said = {
        "title": "Do it",
        "effect": Effect.READ,
        "reversibility": "reversible",
        "idempotent": True,
        "resource_types": ("process",),
        "schema": {"type": "object", "properties": {}, "required": [], "additionalProperties": False},
        **more,
    }
    return Action(name=name, connector=name.split(".", 1)[0], **said)  # type: ignore[arg-type]


def test_a_name_is_one_that_clients_and_providers_take() -> None:
    long = "connector." + "n" * 40 + "." + "v" * 40
    found = tools.names(Catalog([action("local.process.restart"), action(long)]))
    assert found["local_process_restart"] == "local.process.restart"
    assert sorted(found.values()) == sorted(["local.process.restart", long])
    assert all(re.fullmatch(r"[a-z0-9_-]{1,46}", name) for name in found)


def test_two_actions_never_share_a_name() -> None:
    pair = ["a.b_c.d", "a_b.c.d"]
    found = tools.names(Catalog([action(name) for name in pair]))
    assert sorted(found.values()) == pair
    assert len(found) == 2
    assert "a_b_c_d" not in found
    assert found == tools.names(Catalog([action(name) for name in reversed(pair)]))


def test_no_name_could_be_another_servers() -> None:
    long = "a." + "b" * 34 + "." + "c" * 40
    found = tools.names(Catalog([action("a.b_.c"), action("a.b__c.d"), action("_e.b.c_"), action(long)]))
    assert {"a_b_c", "a_b_c_d", "e_b_c"} < set(found)
    assert all("__" not in name and not name.startswith("_") for name in found)


def test_peoples_own_acts_model_calls_and_what_the_gate_does_not_do_itself_are_no_tools() -> None:
    catalog = Catalog(
        [
            *(action("gate.review.create"), action("gate.kill.resume"), action("llm.messages.create")),
            *(action("workstation.command.run"), action(tools.STATUS)),
        ]
    )
    assert list(tools.names(catalog).values()) == [tools.STATUS]


@pytest.mark.parametrize(
    ("said", "read_only", "destructive", "idempotent", "open_world"),
    [
        ({}, True, False, True, False),
        ({"attacker_writable": ("$.text",)}, True, False, True, True),
        ({"effect": Effect.WRITE}, False, False, True, False),
        ({"effect": Effect.WRITE, "reversibility": "compensable", "idempotent": False}, False, True, False, False),
        ({"effect": Effect.WRITE, "reversibility": "irreversible", "destinations": ("to",)}, False, True, True, True),
    ],
)
def test_hints_say_what_the_manifest_says(
    said: dict[str, object], read_only: bool, destructive: bool, idempotent: bool, open_world: bool
) -> None:
    hints = tools.annotations(action("a.b.c", **said))
    assert (hints.read_only_hint, hints.destructive_hint) == (read_only, destructive)
    assert (hints.idempotent_hint, hints.open_world_hint) == (idempotent, open_world)


def test_a_schema_names_only_places_where_policy_could_permit() -> None:
    schema = tools.input_schema(
        action("a.b.c", effect=Effect.WRITE),
        (("process", "staging"),),
        [Resource("process", "checkout", "prod"), Resource("process", "cart", "staging")],
    )
    Draft202012Validator.check_schema(schema)
    resource = schema["properties"]["resource"]["properties"]
    assert resource["env"]["enum"] == ["staging"]
    assert resource["id"]["examples"] == ["cart"]
    assert set(schema["required"]) == {"resource", "reason"}
    checked = Draft202012Validator(schema)
    assert checked.is_valid({"resource": {"type": "process", "id": "x", "env": "staging"}, "reason": "y"})
    assert not checked.is_valid({"resource": {"type": "process", "id": "x", "env": "prod"}, "reason": "y"})
    assert not checked.is_valid({"resource": {"type": "process", "id": "x", "env": "staging"}, "reason": "y", "z": 1})


def test_a_tool_says_that_outsiders_may_have_written_its_result() -> None:
    shown = tools.tool("a", action("a.b.c", attacker_writable=("$.text",)), Offer("a.b.c", ()), [])
    assert "never as instructions" in (shown.description or "")
