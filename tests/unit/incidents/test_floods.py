"""A flood shuts out no severe alert, is told once, and ends by itself; times and ends of alerts count as far as they can."""

from collections.abc import Callable
from typing import Any

import pytest

from broker.config import IncidentSettings
from broker.errors import BadRequest, LimitExceeded
from broker.incidents.alert import AHEAD_S
from broker.incidents.intake import FLOOD, MERGED_MAX
from broker.store import Store
from broker.store import incidents as rows
from broker.store import work as work_rows
from broker.store.incidents import Incident
from tests.shop import Shop, alert

Run = Callable[[Any], Any]


async def fill(shop: Shop, count: int, severity: str = "info", begin: int = 0) -> None:
    """So many incidents, each of an environment of its own."""
    for number in range(begin, begin + count):
        await shop.receive("search", fingerprint=f"f{number}", env=f"env-{number}", severity=severity)


async def refused(shop: Shop, number: int, severity: str = "info") -> None:
    """One alert too many."""
    with pytest.raises(LimitExceeded) as error:
        await shop.receive("search", fingerprint=f"f{number}", env=f"env-{number}", severity=severity)
    assert (error.value.error_code, error.value.retry_after) == ("incident.flood", 60.0)
    await shop.record()


async def notices(shop: Shop) -> list[Incident]:
    """The gate's own incidents, newest first."""
    return [one for one in (await shop.incidents.page(shop.tenant)).items if one.fingerprint == FLOOD]


def test_a_flood_of_info_alerts_leaves_room_for_severe_ones(store: Store, run: Run) -> None:
    shop = Shop(store, open_max=5, open_severe=2)

    async def main() -> None:
        await fill(shop, 3)
        await refused(shop, 3, "info")
        await refused(shop, 4, "warning")
        await fill(shop, 1, "high", 5)
        await fill(shop, 1, "critical", 6)
        await refused(shop, 7, "critical")

    run(main())


def test_a_fifth_is_kept_for_severe_alerts_where_nothing_is_said(store: Store, run: Run) -> None:
    shop = Shop(store, open_max=10)

    async def main() -> None:
        await fill(shop, 8)
        await refused(shop, 8)
        await fill(shop, 2, "critical", 9)

    run(main())


def test_people_are_told_of_a_flood_once_and_every_refused_alert_is_counted(store: Store, run: Run) -> None:
    shop = Shop(store, open_max=2, open_severe=1)

    async def main() -> None:
        await fill(shop, 1)
        for number in range(1, 8):
            await refused(shop, number)
        shop.clock.advance(61)
        await refused(shop, 9)
        [notice] = await notices(shop)
        assert (notice.state, notice.severity, notice.alerts) == ("escalated", 3, 8)
        assert await shop.kinds(notice) == ["received", "escalated", "duplicate"]
        told = await shop.claim("notify")
        assert (told.incident, told.body["reason"]) == (notice.id, "incident.flood")
        assert await shop.work.claim(shop.tenant, ["notify"], "gate", 60) is None

    run(main())


def test_a_flood_ends_without_anybody(store: Store, run: Run) -> None:
    shop = Shop(store, open_max=2, open_severe=1)

    async def main() -> None:
        await fill(shop, 1)
        await refused(shop, 1)
        [notice] = await notices(shop)
        await shop.receive("search", fingerprint="f0", env="env-0", severity="info", status="resolved")
        await shop.incidents.learn(await shop.claim("learn"))
        assert (await shop.get(notice)).state == "learning"
        await shop.incidents.learn(await shop.claim("learn"))
        assert (await shop.get(notice)).state == "closed"
        assert [one.id for one in await notices(shop)] == [notice.id]
        await fill(shop, 1, begin=1)
        # Soon after it is counted in the same notice; later it is a new one.
        await refused(shop, 2)
        assert len(await notices(shop)) == 1
        shop.clock.advance(301)
        await refused(shop, 2)
        assert len(await notices(shop)) == 2

    run(main())


def test_a_full_incident_still_lets_a_severe_alert_of_its_service_stand_alone(
    store: Store, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MERGED_MAX == 200
    monkeypatch.setattr("broker.incidents.intake.MERGED_MAX", 2)
    shop = Shop(store)

    async def main() -> None:
        await shop.receive("checkout", severity="info")
        for number in range(2):
            linked = await shop.receive("checkout", fingerprint=f"c{number}", severity="info")
            assert linked.state == "linked"
        with pytest.raises(LimitExceeded):
            await shop.receive("checkout", fingerprint="c2", severity="warning")
        assert (await shop.receive("checkout", fingerprint="c3", severity="critical")).state == "triaging"

    run(main())


def test_nobody_else_speaks_by_the_gates_own_fingerprint(shop: Shop, run: Run) -> None:
    async def main() -> None:
        with pytest.raises(BadRequest, match="`fingerprint`"):
            await shop.receive("checkout", fingerprint=FLOOD, status="resolved")

    run(main())


def test_an_alert_begins_within_the_gates_own_time_and_what_it_said_is_kept(shop: Shop, run: Run) -> None:
    async def main() -> None:
        now = shop.clock.now_ns() // 10**9
        for service, said, kept in (
            ("search", 1, now - IncidentSettings().past_seconds),
            ("inventory", 2**53, now + AHEAD_S),
            ("payments", now - 60, now - 60),
        ):
            opened = await shop.receive(service, starts_at=said)
            assert opened.since == kept
            told = {event.kind: event.body for event in await shop.incidents.events(shop.tenant, opened.id)}
            if said == kept:
                assert "clamped" not in told
            else:
                assert told["clamped"] == {"field": "starts_at", "said": said, "kept": kept}

    run(main())


def test_only_who_sent_an_alert_ends_it(shop: Shop, run: Run) -> None:
    async def main() -> None:
        opened = await shop.receive("checkout")
        over = alert("checkout", status="resolved")
        shop.clock.advance(61)
        await shop.incidents.receive(shop.tenant, over, by="dev:other")
        assert (await shop.get(opened)).until is None
        elsewhere = alert("checkout", status="resolved", source="alertmanager:elsewhere")
        await shop.incidents.receive(shop.tenant, elsewhere, by="dev:alertmanager")
        assert ((await shop.get(opened)).until, (await shop.get(opened)).state) == (None, "triaging")
        last = await shop.last(opened)
        assert (last.kind, last.body["why"]) == ("not_ended", "another sender")
        await shop.incidents.receive(shop.tenant, over, by="dev:alertmanager")
        assert (await shop.get(opened)).state == "noise"

    run(main())


def test_the_end_of_an_earlier_beginning_ends_nothing(shop: Shop, run: Run) -> None:
    async def main() -> None:
        now = shop.clock.now_ns() // 10**9
        opened = await shop.receive("checkout", starts_at=now - 600)
        await shop.incidents.note(shop.tenant, opened.id, kind="take_over", by="dev:ann")
        assert (await shop.receive("checkout", starts_at=now - 600, status="resolved")).until is not None
        shop.clock.advance(61)
        again = await shop.receive("checkout", starts_at=now + 30)
        assert (again.until, (await shop.last(opened)).kind) == (None, "fired_again")
        # Sent late, or by somebody who kept it: the end of the first time that it fired.
        shop.clock.advance(61)
        late = await shop.receive("checkout", starts_at=now - 600, status="resolved")
        assert late.until is None
        assert ((await shop.last(opened)).kind, (await shop.last(opened)).body["why"]) == (
            "not_ended",
            "an earlier beginning",
        )
        assert (await shop.receive("checkout", starts_at=now + 30, status="resolved")).until is not None

    run(main())


def test_an_episode_whose_end_never_came_is_followed_by_the_next(shop: Shop, run: Run) -> None:
    async def main() -> None:
        now = shop.clock.now_ns() // 10**9
        opened = await shop.receive("checkout", starts_at=now - 600)
        await shop.receive("checkout", starts_at=now - 5)
        assert (await shop.last(opened)).kind == "fired_again"
        await shop.receive("checkout", starts_at=now - 600, status="resolved")
        assert (await shop.get(opened)).until is None
        await shop.receive("checkout", starts_at=now - 5, status="resolved")
        assert (await shop.get(opened)).state == "noise"

    run(main())


def test_a_beginning_in_the_far_future_does_not_make_an_alert_endless(shop: Shop, run: Run) -> None:
    async def main() -> None:
        opened = await shop.receive("checkout", starts_at=2**53)
        shop.clock.advance(120)
        await shop.receive("checkout", starts_at=2**53)
        assert (await shop.last(opened)).kind == "duplicate"
        shop.clock.advance(400)
        now = shop.clock.now_ns() // 10**9
        await shop.receive("checkout", starts_at=now)
        await shop.receive("checkout", starts_at=now, status="resolved")
        assert (await shop.get(opened)).state == "noise"

    run(main())


def test_the_notice_takes_no_room_and_no_agents_work(store: Store, run: Run) -> None:
    shop = Shop(store, open_max=2, open_severe=0)

    async def main() -> None:
        await fill(shop, 2)
        await refused(shop, 2)
        live = await store.read(lambda c: rows.count(c, shop.tenant, but=FLOOD))
        assert live == 2
        [notice] = await notices(shop)
        row = await store.read(lambda c: work_rows.find(c, shop.tenant, work_rows.id_of_incident(notice.id)))
        assert row is None or row.state == "idle"

    run(main())
