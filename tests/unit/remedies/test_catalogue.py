"""The catalogue: what a diagnosis derives, and what it leaves open."""

from typing import Any

from broker.catalog import Catalog
from broker.model import ActionRequest, Resource
from broker.remedies import Finding, derive, remedies_for, times_of
from broker.remedies.catalogue import is_derived, same_target
from broker.topology import Component, Graph

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REMEDY = {
    "faults": ["bad-config"],
    "resource": {"type": "repository", "id": "{component}"},
    "arguments": {"branch": "main", "commit": "{cited.commit}"},
    "cooldown_s": 300,
    "per_hour_max": 3,
    "verification": {"settle_s": 15, "window_s": 600, "interval_s": 30},
}
ACTION: dict[str, Any] = {
    "title": "Take a commit back",
    "effect": "write",
    "reversibility": "reversible",
    "idempotent": True,
    "resource_types": ["repository"],
    "arguments": {
        "branch": {"type": "string", "required": True},
        "commit": {"type": "string", "default": ""},
        "made_by": {"type": "string", "default": ""},
    },
    "remedy": REMEDY,
}
CATALOG = Catalog.from_manifests([{"connector": "git", "actions": {"git.change.revert": ACTION}}])
REVERT = CATALOG.action("git.change.revert")
GRAPH = Graph(
    components={name: Component(name, "prod", "process", ()) for name in ("checkout", "settings", "payments")},
    needs={"checkout": ("payments", "settings")},
    serves={"settings": ("checkout",), "payments": ("checkout",)},
)
CLAIM = {"verdict": "verified", "op": "eq", "selector": "$.commits[0].commit", "actual": COMMIT}


def inventory(*repositories: str) -> Any:
    def find(_: str, type_: str, id_: str, env: str) -> Resource | None:
        here = type_ == "repository" and id_ in repositories and env == "prod"
        return Resource(type_, id_, env, "eu-west-1") if here else None

    return find


def finding(*claims: dict[str, Any], fault: str = "bad-config") -> Finding:
    return Finding("default", "prod", "storefront", "checkout", fault, claims)


def request(**arguments: Any) -> ActionRequest:
    complete = {"branch": "main", "commit": COMMIT, "made_by": "", **arguments}
    resource = Resource("repository", "checkout", "prod", "eu-west-1")
    return ActionRequest("act_1", "default", "ses_1", REVERT.name, resource, complete, "", "")


def test_a_diagnosis_fills_in_component_and_the_value_that_claims_cite() -> None:
    derived = derive(REVERT, finding(CLAIM), GRAPH, inventory("checkout"))
    assert derived.resource == {"type": "repository", "id": "checkout", "env": "prod"}
    assert derived.arguments == {"branch": "main", "commit": COMMIT}
    assert derived.open == ()
    assert is_derived(CATALOG, REVERT, request(), derived)
    assert not is_derived(CATALOG, REVERT, request(commit="f" * 40), derived)
    assert not is_derived(CATALOG, REVERT, request(made_by="act_2"), derived)


def test_the_only_dependency_of_the_type_stands_for_the_component() -> None:
    assert derive(REVERT, finding(CLAIM), GRAPH, inventory("settings")).resource["id"] == "settings"
    assert "resource" in derive(REVERT, finding(CLAIM), GRAPH, inventory("settings", "payments")).open
    assert "resource" in derive(REVERT, finding(CLAIM), GRAPH, inventory()).open


def test_only_one_verified_value_is_taken() -> None:
    refuted = {**CLAIM, "verdict": "refuted"}
    other = {**CLAIM, "actual": "f" * 40}
    for claims in ([], [refuted], [CLAIM, other], [{**CLAIM, "op": "contains"}], [{**CLAIM, "actual": 7}]):
        derived = derive(REVERT, finding(*claims), GRAPH, inventory("checkout"))
        assert derived.open == ("commit",)
        assert not is_derived(CATALOG, REVERT, request(), derived)
        assert same_target(request(), derived)


def test_agents_see_the_catalogue_with_what_was_found_filled_in() -> None:
    [shown] = remedies_for(CATALOG, GRAPH, inventory("checkout"), finding(CLAIM), fitting=True)
    assert shown["arguments"] == {"branch": "main", "commit": COMMIT}
    assert shown["verification"] == REMEDY["verification"]
    assert remedies_for(CATALOG, GRAPH, inventory(), finding(fault="slow-query"), fitting=True) == []
    [unfound] = remedies_for(CATALOG, GRAPH, inventory("checkout"), Finding("default", "prod", "storefront", "", ""))
    assert unfound["open"] == ["resource", "commit"]


def test_configuration_may_say_other_times() -> None:
    assert times_of(REVERT).samples == 20
    quick = times_of(REVERT, settle=0, window=4, interval=4)
    assert (quick.settle, quick.samples) == (0, 2)
