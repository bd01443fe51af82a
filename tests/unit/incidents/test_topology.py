"""What depends on what: impact, paths and owners as the inventory states them; a wrong inventory stops the start."""

from itertools import pairwise, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.rules import view
from broker.config import GateSettings, InventoryItem, Settings
from broker.errors import BadRequest
from broker.topology import KEPT, PLACES, Graph, Topology
from tests.shop import NEEDS, inventory


def built(*items: InventoryItem) -> Topology:
    return Topology.of(Settings(gate=GateSettings(default_tenant="t"), inventory=items))


def item(name: str, *needed: str, **changes: object) -> InventoryItem:
    values = {"type": "process", "id": name, "env": "prod", "region": "r", "depends_on": needed}
    return InventoryItem.model_validate({**values, **changes})


def shop() -> Graph:
    return built(*inventory("t")).graph("t", "prod")


def test_impact_is_everything_that_depends_on_it_nearest_first() -> None:
    assert shop().downstream("payments") == {"checkout": 1, "storefront": 2}
    assert shop().upstream("storefront") == {"checkout": 1, "search": 1, "inventory": 2, "payments": 2}
    assert shop().dependents("payments") == ("checkout",)
    assert shop().dependencies("checkout") == ("inventory", "payments")


def test_a_path_leads_from_the_cause_to_the_symptom_and_only_that_way() -> None:
    assert shop().path("payments", "storefront") == ("payments", "checkout", "storefront")
    assert shop().path("payments", "payments") == ("payments",)
    assert shop().path("storefront", "payments") == ()
    assert shop().path("search", "checkout") == ()
    assert shop().path("nobody", "checkout") == ()


def test_items_of_several_types_that_share_a_name_are_one_component() -> None:
    graph = built(
        item("db"),
        item("checkout", owners=["dev:carl"]),
        item("checkout", "db", type="logs", owners=["dev:carl", "team-shop"]),
    ).graph("t", "prod")
    assert graph.components["checkout"].type == "process"
    assert graph.owners("checkout") == ("dev:carl", "team-shop")
    assert graph.dependencies("checkout") == ("db",)


def test_what_only_keeps_or_measures_is_a_place_and_what_shares_a_component_s_name_is_that_component() -> None:
    graph = built(
        item("checkout", type="logs"),
        item("checkout", "payments", "shop"),
        item("payments", type="logs"),
        item("shop", type="repository"),
        item("metrics", type="prometheus"),
        item("audit", type="logs"),
        item("secrets", type="config"),
    ).graph("t", "prod")
    assert graph.components["checkout"].type == "process"
    assert graph.places == {"shop", "metrics", "audit", "secrets"}, (
        "others depend on the log of payments: it stands for it"
    )
    assert graph.path("shop", "checkout") == ("shop", "checkout")


@pytest.mark.parametrize(
    ("kinds", "said", "place"),
    [
        (("repository", "logs"), "logs", False),
        (("prometheus", "config", "repository"), "config", False),
        (("repository", "logs", "process"), "process", False),
        (("prometheus", "external"), "external", False),
        (("repository",), "repository", True),
    ],
)
def test_the_order_of_the_inventory_does_not_decide_what_a_name_is(
    kinds: tuple[str, ...], said: str, place: bool
) -> None:
    for order in permutations(kinds):
        graph = built(item("checkout", "payments"), *(item("payments", type=kind) for kind in order)).graph("t", "prod")
        assert graph.components["payments"].type == said, order
        assert ("payments" in graph.places) is place, order


def test_the_rules_tell_places_apart_as_the_gate_does() -> None:
    assert (view.PLACES, view.KEPT) == (PLACES, KEPT)


def test_environments_and_tenants_are_apart() -> None:
    topology = built(item("a", "b"), item("b"), item("a", env="staging"), item("x", tenants=["other"]))
    assert topology.graph("t", "staging").dependencies("a") == ()
    assert "x" not in topology.graph("t", "prod")
    assert "a" not in topology.graph("other", "prod")
    assert topology.graph("nobody", "prod").as_json() == {"nodes": [], "edges": []}


def test_what_is_not_known_has_no_neighbours_and_no_owners() -> None:
    graph = shop()
    assert graph.upstream("nobody") == graph.downstream("nobody") == {}
    assert graph.owners("nobody") == graph.dependents("nobody") == ()


def test_the_graph_is_told_as_nodes_and_edges() -> None:
    told = built(item("a", "b", owners=["o"]), item("b")).graph("t", "prod").as_json()
    assert told["nodes"] == [
        {"id": "a", "type": "process", "env": "prod", "owners": ["o"]},
        {"id": "b", "type": "process", "env": "prod", "owners": []},
    ]
    assert told["edges"] == [["a", "b"]]


@pytest.mark.parametrize(
    ("items", "named"),
    [
        ((item("a", "b"),), "`b`"),
        ((item("a", "b"), item("b", env="staging")), "`b`"),
        ((item("a", "b"), item("b", tenants=["other"])), "`b`"),
        ((item("a", "a"),), "`a` -> `a`"),
        ((item("a", "b"), item("b", "c"), item("c", "a")), "circle"),
    ],
)
def test_an_unknown_name_or_a_circle_stops_the_start_and_is_named(items: tuple[InventoryItem, ...], named: str) -> None:
    with pytest.raises(BadRequest) as refused:
        built(*items)
    assert refused.value.error_code == "config.topology"
    assert named in refused.value.detail


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=30))
def test_of_any_graph_without_circles_paths_and_closures_agree(edges: list[tuple[int, int]]) -> None:
    needs: dict[str, set[str]] = {str(n): set() for n in range(10)}
    for one, other in edges:
        if one != other:
            needs[str(max(one, other))].add(str(min(one, other)))
    graph = built(*(item(name, *sorted(needed)) for name, needed in needs.items())).graph("t", "prod")
    for cause in needs:
        reached = graph.downstream(cause)
        for symptom in needs:
            path = graph.path(cause, symptom)
            assert bool(path) == (symptom in reached or symptom == cause)
            assert (cause in graph.upstream(symptom)) == (symptom in reached)
            if path:
                assert (path[0], path[-1], len(path)) == (cause, symptom, reached.get(symptom, 0) + 1)
                assert all(below in needs[above] for below, above in pairwise(path))


def test_the_shop_of_the_tests_is_what_its_table_says() -> None:
    assert {name: set(shop().dependencies(name)) for name in NEEDS} == {name: set(n) for name, n in NEEDS.items()}
