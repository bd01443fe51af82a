"""``GET /v1/events`` in a whole gate: what is on record, once and in order, for whoever may see it and as long as they may."""

import asyncio
from pathlib import Path
from typing import Any

import httpx

from tests.parts import fresh_database
from tests.sim.served import served
from tests.sim.sse import reading
from tests.sim.world import World, replica, world

QUICK = """
[events]
pace_seconds = 0.02
look_seconds = 0.05
decide_seconds = 0.2
heartbeat_seconds = 0.3
send_seconds = 0.5
streams_per_party_max = 3
lines_kept = 500
"""
EVENTS = "/v1/events"


async def _act(it: World, times: int = 1) -> None:
    agent = await it.agent()
    session = await it.session(agent)
    for _ in range(times):
        assert (await it.act(agent, "local.process.status", session)).status_code == 200


def test_a_reader_sees_each_record_once_in_order_and_nothing_that_is_not_on_record(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, extra=QUICK) as it:
            oncall = await it.person("oncall")
            async with reading(it.app, EVENTS, oncall) as reader:
                assert reader.status == 200
                before = len(await it.records())
                await _act(it, 3)
                wanted = len(await it.records())
                await reader.until(lambda r: r.last_id == str(wanted - 1))
                seen = reader.records()
            assert [one["seq"] for one in seen] == list(range(before, wanted))
            on_record = await it.records()
            assert [one["id"] for one in seen] == [one["id"] for one in on_record[before:wanted]]
            outcome = next(one for one in seen if one["kind"] == "outcome" and one["action"] == "local.process.status")
            # What answers says whose request it answers, and by whom, in a name that only this gate can tell.
            assert (outcome["name"], outcome["status"], outcome["access"]) == ("dev:agent-1", "done", "read")
            assert outcome["session"]

    asyncio.run(main())


def test_a_cut_stream_resumes_where_it_was_without_loss_or_repeat(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, extra=QUICK) as it:
            oncall = await it.person("oncall")
            got: list[int] = []
            last = {"Last-Event-ID": "-1"}
            for round_ in range(4):
                async with reading(it.app, EVENTS, {**oncall, **last}) as reader:
                    await _act(it, 2)
                    wanted = len(await it.records())
                    need = wanted - (5 if round_ % 2 else 0)  # cut in the middle, too
                    await reader.until(lambda r, need=need: r.last_id and int(r.last_id) >= need - 1)
                got += [one["seq"] for one in reader.records()]
                last = {"Last-Event-ID": reader.last_id}
            assert got == list(range(got[-1] + 1))

    asyncio.run(main())


def test_filters_are_the_servers_and_an_empty_batch_still_moves_the_place(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, extra=QUICK) as it:
            auditor = await it.person("auditor")
            query = f"{EVENTS}?kinds=refusal&effect=deny&after=-1"
            async with reading(it.app, query, auditor) as reader:
                await _act(it, 2)
                agent = await it.agent()
                refused = await it.act(agent, "local.process.restart", await it.session(agent), id_="nothing-like-it")
                assert refused.status_code == 403
                size = len(await it.records())
                await reader.until(lambda r: r.last_id == str(size - 1))
                seen = reader.records()
            assert [(one["kind"], one["effect"]) for one in seen] == [("refusal", "deny")]
            assert "risk.unknown" in seen[0]["codes"]
            async with reading(it.app, f"{EVENTS}?own=0&after=-1", auditor) as reader:
                await reader.until(lambda r: r.last_id and int(r.last_id) >= size)
                assert not [one for one in reader.records() if one["action"] == "gate.events.read"]

    asyncio.run(main())


def test_one_tenant_never_sees_the_other(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, extra=QUICK) as it:
            stranger, oncall = await it.person("stranger"), await it.person("oncall")
            async with reading(it.app, EVENTS, stranger) as theirs, reading(it.app, EVENTS, oncall) as ours:
                await _act(it, 2)
                assert (await it.client.get("/v1/approvals", headers=stranger)).status_code == 200
                await ours.until(lambda r: len(r.records()) >= 4)
                await theirs.until(lambda r: len(r.records()) >= 2)
                assert {one["action"] for one in theirs.records()} <= {"gate.approvals.read", "gate.events.read"}
                assert not any(one["name"] == "dev:stranger" for one in ours.records())

    asyncio.run(main())


def test_agents_and_nobody_follow_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, extra=QUICK) as it:
            for who, status in ((await it.agent(), 403), ({}, 401)):
                answer = await it.client.get(EVENTS, headers=who)
                assert answer.status_code == status

    asyncio.run(main())


def test_too_many_streams_are_refused_on_record_and_a_closed_one_makes_room(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, extra=QUICK) as it:
            oncall = await it.person("oncall")
            first, second = reading(it.app, EVENTS, oncall), reading(it.app, EVENTS, oncall)
            async with reading(it.app, EVENTS, oncall):
                await first.__aenter__()
                await second.__aenter__()
                answer = await it.client.get(EVENTS, headers=oncall)
                assert (answer.status_code, answer.json()["code"]) == (429, "events.too_many")
                assert int(answer.headers["Retry-After"]) > 0
                assert answer.json()["receipt"]["seq"] > 0
                await first.__aexit__(None, None, None)
                async with reading(it.app, EVENTS, oncall) as fresh:
                    assert fresh.status == 200
                await second.__aexit__(None, None, None)
            assert it.gate.feed.following == 0

    asyncio.run(main())


def test_a_slow_reader_is_dropped_with_the_reason_and_costs_the_others_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, extra=QUICK.replace("send_seconds = 0.5", "send_seconds = 60")) as it:
            oncall, auditor = await it.person("oncall"), await it.person("auditor")
            async with reading(it.app, EVENTS, oncall) as slow, reading(it.app, EVENTS, auditor) as quick:
                await _act(it)
                await slow.until(lambda r: r.records())
                slow.taking.clear()
                told = {"verb": "activate", "digest": "0" * 64, "previous": "", "revision": "1"}
                for n in range(7):  # each by the gate's own writer, more than the ring keeps
                    await asyncio.gather(
                        *(it.gate.records.policy("default", event=f"test.{n}.{m}", **told) for m in range(100))
                    )
                    size = len(await it.records())
                    await quick.until(lambda r, size=size: int(r.last_id or 0) >= size - 1)
                slow.taking.set()
                await slow.until(lambda r: r.ended)
                end = slow.events()[-1]
                assert (end.name, end.data["code"]) == ("end", "events.too_slow")
                assert "Last-Event-ID" in end.data["remedy"]
                assert slow.last_id == str(slow.records()[-1]["seq"]), "the reason moves nothing"
            async with reading(it.app, EVENTS, {**oncall, "Last-Event-ID": slow.last_id}) as again:
                await again.until(lambda r: int(r.last_id or 0) >= size - 1)
                assert again.records()[0]["seq"] == int(slow.last_id) + 1

    asyncio.run(main())


def test_a_reader_that_takes_nothing_at_all_is_cut_off(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, extra=QUICK) as it:
            oncall = await it.person("oncall")
            async with reading(it.app, EVENTS, oncall) as stuck:
                await stuck.until(lambda r: r.body)
                stuck.taking.clear()
                await _act(it)
                await stuck.until(lambda r: r.ended)
            assert it.gate.feed.following == 0

    asyncio.run(main())


def test_silence_is_told_by_comments(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, extra=QUICK) as it, reading(it.app, EVENTS, await it.person("oncall")) as reader:
            await reader.until(lambda r: b": still here\n\n" in r.body)

    asyncio.run(main())


def test_a_sign_in_that_ends_and_a_role_that_is_lost_end_the_stream_with_the_reason(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, extra=QUICK) as it:
            oncall = await it.person("oncall")
            async with reading(it.app, EVENTS, oncall) as reader:
                it.clock.advance(700)
                await reader.until(lambda r: r.ended)
                assert reader.events()[-1].data["code"] == "identity.expired"
            auditor = await it.person("auditor")
            async with reading(it.app, EVENTS, auditor) as reader:
                await reader.until(lambda r: r.body)
                lost: Any = it.gate.pipeline._parties
                principal = await it.gate.identity.authenticate(_credential(auditor))
                it.clock.advance(2)
                await it.gate.store.write(lambda c: _note(c, principal.acting.id, it.clock.now_ns() // 10**9))
                assert lost is not None
                await reader.until(lambda r: r.ended)
                assert reader.events()[-1].data["code"] == "allowlist.action_not_granted"
            refusal = [one for one in await it.records() if one["kind"] == "refusal"][-1]
            assert refusal["body"]["action"]["name"] == "gate.events.read"

    asyncio.run(main())


def test_the_decision_is_on_record_once_a_connection(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, extra=QUICK) as it:
            async with reading(it.app, EVENTS, await it.person("oncall")) as reader:
                await _act(it, 3)
                for _ in range(3):  # policy is asked again in between
                    count = reader.body.count(b": still here")
                    await reader.until(lambda r, count=count: r.body.count(b": still here") > count)
            mine = [
                one for one in await it.records() if one["body"].get("action", {}).get("name") == "gate.events.read"
            ]
            assert [one["kind"] for one in mine] == ["intent", "outcome"]

    asyncio.run(main())


def test_a_gate_that_stops_says_so_to_every_reader(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, extra=QUICK) as it:
            async with reading(it.app, EVENTS, await it.person("oncall")) as reader:
                await it.gate.feed.aclose()
                await reader.until(lambda r: r.ended)
            assert reader.events()[-1].data["code"] == "events.stopping"

    asyncio.run(main())


def test_replicas_tell_the_same_and_a_reader_may_change_between_them(tmp_path: Path) -> None:
    async def main() -> None:
        url = fresh_database().replace("postgresql://", "postgresql+psycopg://", 1)
        (tmp_path / "b").mkdir()
        async with world(tmp_path, extra=QUICK, store_url=url) as it, replica(it, tmp_path / "b") as other:
            oncall = await it.person("oncall")
            async with reading(it.app, EVENTS, oncall) as here:
                await _act(it, 2)
                size = len(await it.records())
                await here.until(lambda r: int(r.last_id or 0) >= size - 1)
            oncall = await other.person("oncall")
            async with reading(other.app, EVENTS, {**oncall, "Last-Event-ID": "-1"}) as there:
                await there.until(lambda r: int(r.last_id or 0) >= size - 1)
                both = {one["seq"]: one for one in there.records()}
                assert all(both[one["seq"]] == one for one in here.records())
            async with reading(other.app, EVENTS, {**oncall, "Last-Event-ID": here.last_id}) as moved:
                await _act(it)
                last = len(await it.records()) - 1
                await moved.until(lambda r: int(r.last_id or 0) >= last)
                assert [one["seq"] for one in moved.records()][:3] == [int(here.last_id) + n for n in (1, 2, 3)]

    asyncio.run(main())


def test_a_browser_reads_it_over_a_socket(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, extra=QUICK) as it, served(it.app) as port:
            oncall = await it.person("oncall")
            url = f"http://127.0.0.1:{port}{EVENTS}?after=-1"
            headers = {**oncall, "Host": "localhost:8480"}
            async with httpx.AsyncClient(timeout=90) as client, client.stream("GET", url, headers=headers) as answer:
                assert answer.headers["content-type"].startswith("text/event-stream")
                assert answer.headers["cache-control"] == "no-store"
                async for line in answer.aiter_lines():
                    if line == "event: record":
                        break

    asyncio.run(main())


def _credential(headers: dict[str, str]) -> Any:
    from broker.identity import Credential

    return Credential(headers["Authorization"])


def _note(connection: Any, party: str, at: int) -> None:
    from broker.store import parties

    parties.note(connection, "default", party, (), at)
