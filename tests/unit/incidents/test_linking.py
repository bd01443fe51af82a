"""What belongs together: alerts are linked along the topology, and none is lost by that."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.shop import EXECUTED, Shop

Run = Callable[[Any], Any]


def test_an_alert_of_a_dependent_service_is_linked_to_the_incident_of_the_nearest_dependency(
    shop: Shop, run: Run
) -> None:
    async def main() -> None:
        far = await shop.receive("payments", severity="warning")
        linked = await shop.receive("checkout", severity="warning")
        assert (linked.state, linked.merged_into, linked.session) == ("linked", far.id, "")
        near_first = await shop.receive("storefront", severity="critical")
        assert (near_first.state, near_first.merged_into) == ("linked", far.id)
        assert (await shop.last(near_first)).body["path"] == ["payments", "checkout", "storefront"]
        upstream = await shop.get(far)
        assert upstream.severity == 4
        told = [event for event in await shop.incidents.events(shop.tenant, far.id) if event.kind == "alert"]
        assert [event.body["incident"] for event in told] == [linked.id, near_first.id]
        assert {one.id for one in await shop.incidents.linked(shop.tenant, far.id)} == {linked.id, near_first.id}

    run(main())


def test_the_nearest_dependency_takes_an_alert_in_and_not_the_oldest(shop: Shop, run: Run) -> None:
    async def main() -> None:
        await shop.receive("payments")
        shop.clock.advance(10)
        near = await shop.receive("search")
        assert (await shop.receive("storefront")).merged_into == near.id

    run(main())


def test_an_alert_of_the_same_service_is_linked_and_one_of_another_environment_is_not(shop: Shop, run: Run) -> None:
    async def main() -> None:
        first = await shop.receive("checkout")
        same = await shop.receive("checkout", fingerprint="latency")
        assert (same.state, same.merged_into) == ("linked", first.id)
        assert (await shop.receive("checkout", env="staging", fingerprint="s")).state == "triaging"

    run(main())


@pytest.mark.parametrize(
    ("first", "second"), [("search", "checkout"), ("checkout", "payments"), ("payments", "inventory")]
)
def test_an_alert_is_not_linked_where_the_topology_has_no_way_from_it_to_the_open_incident(
    shop: Shop, run: Run, first: str, second: str
) -> None:
    async def main() -> None:
        await shop.receive(first)
        assert (await shop.receive(second)).state == "triaging"

    run(main())


def test_an_incident_of_a_dependency_that_comes_second_is_its_own_and_both_are_told(shop: Shop, run: Run) -> None:
    async def main() -> None:
        downstream = await shop.receive("checkout")
        upstream = await shop.receive("payments")
        assert upstream.state == "triaging"
        assert (await shop.last(downstream)).kind == "related"
        assert (await shop.last(downstream)).body["incident"] == upstream.id
        assert "related" in await shop.kinds(upstream)

    run(main())


def test_an_old_incident_does_not_swallow_new_alerts(shop: Shop, run: Run) -> None:
    async def main() -> None:
        await shop.receive("payments")
        shop.clock.advance(3600)
        assert (await shop.receive("checkout")).state == "triaging"

    run(main())


def test_a_linked_alert_that_still_fires_when_the_other_incident_closes_stands_for_itself_after_a_while(
    shop: Shop, run: Run
) -> None:
    async def main() -> None:
        upstream = await shop.receive("payments")
        quiet = await shop.receive("checkout")
        firing = await shop.receive("storefront")
        await shop.to_state(upstream, *EXECUTED, "mitigated")
        await shop.receive("checkout", status="resolved")
        await shop.receive("payments", status="resolved")
        await shop.incidents.learn(await shop.claim("learn"))
        await shop.record()
        [own] = (await shop.incidents.page(shop.tenant, ["triaging"])).items
        assert (own.fingerprint, own.alert["labels"]) == (firing.fingerprint, firing.alert["labels"])
        first, *_ = await shop.incidents.events(shop.tenant, own.id)
        assert (first.kind, first.body["follows"]) == ("received", firing.id)
        assert not await shop.work.is_due(shop.tenant, ["incident"])
        shop.clock.advance(300)
        assert (await shop.claim()).subject == own.id
        assert (await shop.get(quiet)).state == "linked"

    run(main())


def test_an_incident_is_not_over_while_an_alert_that_is_linked_to_it_fires(shop: Shop, run: Run) -> None:
    async def main() -> None:
        upstream = await shop.receive("payments")
        await shop.receive("checkout")
        assert (await shop.receive("payments", status="resolved")).state == "triaging"
        await shop.receive("checkout", status="resolved")
        assert (await shop.get(upstream)).state == "noise"

    run(main())


def test_a_linked_alert_that_repeats_is_counted_and_opens_nothing(shop: Shop, run: Run) -> None:
    async def main() -> None:
        upstream = await shop.receive("payments", severity="warning")
        linked = await shop.receive("checkout", severity="warning")
        again = await shop.receive("checkout", severity="critical")
        assert (again.id, again.alerts) == (linked.id, 2)
        assert (await shop.get(upstream)).severity == 4
        assert len((await shop.incidents.page(shop.tenant)).items) == 2

    run(main())
