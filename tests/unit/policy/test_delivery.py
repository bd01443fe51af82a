import asyncio
from typing import Any

from broker.policy.delivery import MEDIA_TYPE, BundleShelf


def test_an_empty_shelf_is_not_found_and_keeps_long_polling_on(run: Any) -> None:
    async def main() -> None:
        answer = await BundleShelf().answer()
        assert (answer.status, answer.body, answer.headers["Content-Type"]) == (404, b"", MEDIA_TYPE)

    run(main())


def test_the_bundle_is_sent_once_and_then_not_again(run: Any, build: Any) -> None:
    async def main() -> None:
        shelf, bundle = BundleShelf(), build("1")
        shelf.publish(bundle)
        first = await shelf.answer()
        assert (first.status, first.body, first.headers["Content-Type"]) == (200, bundle.archive, MEDIA_TYPE)
        assert first.headers["ETag"] == f'"{bundle.digest}"'
        again = await shelf.answer(first.headers["ETag"])
        assert (again.status, again.body, again.headers["Content-Type"]) == (304, b"", MEDIA_TYPE)
        assert (await shelf.answer('"other"', "modes=snapshot,delta;wait=30")).status == 200

    run(main())


def test_a_long_poll_ends_with_the_next_bundle(run: Any, build: Any) -> None:
    async def main() -> None:
        shelf, one, two = BundleShelf(), build("1"), build("2")
        empty = asyncio.ensure_future(shelf.answer("", "modes=snapshot,delta;wait=30"))
        await asyncio.sleep(0)
        shelf.publish(one)
        first = await empty
        assert first.body == one.archive
        waiting = [asyncio.ensure_future(shelf.answer(first.headers["ETag"], "wait=30")) for _ in range(3)]
        await asyncio.sleep(0)
        assert not any(each.done() for each in waiting)
        shelf.publish(two)
        assert [each.body for each in await asyncio.gather(*waiting)] == [two.archive] * 3

    run(main())


def test_a_gate_that_ends_lets_long_polls_go_and_begins_none(run: Any, build: Any) -> None:
    async def main() -> None:
        shelf, bundle = BundleShelf(), build("1")
        shelf.publish(bundle)
        held = asyncio.ensure_future(shelf.answer(f'"{bundle.digest}"', "wait=60"))
        await asyncio.sleep(0)
        assert not held.done()
        shelf.let_go()
        late = asyncio.ensure_future(shelf.answer(f'"{bundle.digest}"', "wait=60"))
        for _ in range(20):
            await asyncio.sleep(0)
        assert [one.done() and one.result().status for one in (held, late)] == [304, 304]

    run(main())


def test_a_long_poll_without_news_ends_in_time(run: Any, build: Any) -> None:
    async def main() -> None:
        shelf, bundle = BundleShelf(), build("1")
        shelf.publish(bundle)
        assert (await shelf.answer(f'"{bundle.digest}"', "wait=0")).status == 304

    run(main())


def test_a_wait_that_is_no_number_is_no_wait(run: Any, build: Any) -> None:
    async def main() -> None:
        shelf, bundle = BundleShelf(), build("1")
        shelf.publish(bundle)
        for prefer in ("wait=forever", "await=5x", "wait=-1", "wait=999999"):
            assert (await shelf.answer(f'"{bundle.digest}"', prefer)).status == 304

    run(main())
