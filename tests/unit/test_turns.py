"""Which tool uses of a model's answers went out, and which one call each of them serves; on both databases."""

import asyncio
from typing import Any

import orjson
import pytest
from sqlalchemy import Engine, event, select

from broker.clock import SeededClock
from broker.model import Party, PartyKind, Principal
from broker.store import Store
from broker.store import turns as rows
from broker.store.strongtables import relayed_turn as turn
from broker.telemetry import Telemetry
from broker.turns import TURN_SECONDS, USES_MAX, Named, Turns, Uses, digest
from tests.stores import fresh_tenant

SERVES = {"tool_call": True, "relayed": True, "matches": True}
DIFFERS = {"tool_call": True, "relayed": True, "matches": False}
UNKNOWN = {"tool_call": True, "relayed": False, "matches": False}


def who(tenant: str, name: str = "dev:coder") -> Principal:
    party = Party(name, PartyKind.AGENT, frozenset({"agent"}))
    return Principal(tenant=tenant, subject=party, actor=None, issuer="idp", expires_at=9)


def use(number: Any = 1, name: str = "mcp__gate__look", said: Any = None) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"toolu_{number}", "name": name, "input": said or {"at": [1, {"b": 2, "a": 1}]}}


def named(number: Any = 1, tool: str = "look", said: Any = None) -> Named:
    return Named(f"toolu_{number}", tool, said or {"at": [1.0, {"a": 1, "b": 2}]})


def test_a_tool_use_serves_one_action_of_its_owner_that_is_what_it_says(store: Store) -> None:
    async def main() -> None:
        turns, tenant = Turns(store, SeededClock(), Telemetry(lambda: 0.0)), fresh_tenant()
        me = who(tenant)
        await turns.note(me, "ses_1", [{"type": "text", "text": "so"}, use(), use(2)])
        for stranger in ((who(fresh_tenant()), "ses_1"), (who(tenant, "dev:other"), "ses_1"), (me, "ses_2")):
            assert await turns.spend(*stranger, "act_1", named()) == UNKNOWN
        assert await turns.spend(me, "ses_1", "act_1", named(3)) == UNKNOWN
        assert await turns.spend(me, "ses_1", "act_1", Named("", "look", {})) == UNKNOWN
        assert await turns.spend(me, "ses_1", "act_1", named(tool="do")) == DIFFERS
        assert await turns.spend(me, "ses_1", "act_1", named(said={"at": []})) == DIFFERS
        assert await turns.spend(me, "ses_1", "act_1", named()) == SERVES
        assert await turns.spend(me, "ses_1", "act_1", named()) == SERVES, "the same action again"
        assert await turns.spend(me, "ses_1", "act_1", named(tool="do")) == DIFFERS
        assert await turns.spend(me, "ses_1", "act_2", named()) == UNKNOWN
        await turns.note(me, "ses_1", [use()])
        assert await turns.spend(me, "ses_1", "act_2", named()) == UNKNOWN, "told again, it is still used"
        assert await turns.spend(me, "ses_1", "act_2", named(2)) == SERVES

    asyncio.run(main())


def test_of_many_actions_one_gets_a_tool_use(store: Store) -> None:
    async def main() -> None:
        turns, me = Turns(store, SeededClock(), Telemetry(lambda: 0.0)), who(fresh_tenant())
        await turns.note(me, "ses_1", [use()])
        found = await asyncio.gather(*(turns.spend(me, "ses_1", f"act_{n}", named()) for n in range(8)))
        assert found.count(SERVES) == 1
        assert found.count(UNKNOWN) == 7

    asyncio.run(main())


def test_a_tool_use_that_was_used_is_on_disk_before_its_call_goes_on(store: Store) -> None:
    synced: list[str] = []

    def look(connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if statement.startswith("UPDATE relayed_turn"):
            asked = "PRAGMA synchronous" if connection.dialect.name == "sqlite" else "SHOW synchronous_commit"
            synced.append(str(connection.exec_driver_sql(asked).scalar_one()))

    async def main() -> None:
        turns, me = Turns(store, SeededClock(), Telemetry(lambda: 0.0)), who(fresh_tenant())
        await turns.note(me, "ses_1", [use()])
        assert await turns.spend(me, "ses_1", "act_1", named()) == SERVES

    event.listen(Engine, "before_cursor_execute", look)
    try:
        asyncio.run(main())
    finally:
        event.remove(Engine, "before_cursor_execute", look)
    assert synced == [{"sqlite": "2", "postgresql": "on"}[store.dialect]]


def test_what_is_given_back_serves_another_call_once(store: Store) -> None:
    async def main() -> None:
        turns, tenant = Turns(store, SeededClock(), Telemetry(lambda: 0.0)), fresh_tenant()
        me = who(tenant)
        await turns.note(me, "ses_1", [use(), use(2)])
        assert await turns.spend(me, "ses_1", "act_1", named()) == SERVES
        assert await turns.spend(me, "ses_1", "act_2", named(2)) == SERVES
        for stranger in ((who(fresh_tenant()), "ses_1"), (who(tenant, "dev:other"), "ses_1"), (me, "ses_2")):
            await turns.give_back(*stranger, "act_1")
            assert await turns.spend(me, "ses_1", "act_3", named()) == UNKNOWN
        await turns.give_back(me, "ses_1", "act_1")
        assert await turns.spend(me, "ses_1", "act_3", named(2)) == UNKNOWN, "the other action's stays used"
        assert await turns.spend(me, "ses_1", "act_3", named()) == SERVES
        assert await turns.spend(me, "ses_1", "act_4", named()) == UNKNOWN

    asyncio.run(main())


def test_a_tool_use_runs_out_and_is_forgotten(store: Store) -> None:
    async def main() -> None:
        clock, me = SeededClock(), who(fresh_tenant())
        turns = Turns(store, clock, Telemetry(lambda: 0.0))
        await turns.note(me, "ses_1", [use()])
        clock.advance(TURN_SECONDS - 1)
        assert await turns.spend(me, "ses_1", "act_1", named(said={"at": []})) == DIFFERS
        clock.advance(1)
        assert await turns.spend(me, "ses_1", "act_1", named()) == UNKNOWN
        clock.advance(rows.LEFT_S + 1)
        await turns.note(me, "ses_2", [use(2)])
        assert await kept(store, me) == ["toolu_2"]

    asyncio.run(main())


def test_what_is_remembered_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "KEPT_MAX", 4)

    async def main() -> None:
        clock, me = SeededClock(), who(fresh_tenant())
        turns = Turns(store, clock, Telemetry(lambda: 0.0))
        await turns.note(me, "ses_2", [use("other")])
        for number in range(6):
            await turns.note(me, "ses_1", [use(number)])
            clock.advance(1)
        assert await kept(store, me) == ["toolu_2", "toolu_3", "toolu_4", "toolu_5", "toolu_other"]
        monkeypatch.setattr(rows, "KEPT_MAX", 1000)
        await turns.note(me, "ses_3", [use(f"more{number}") for number in range(USES_MAX + 5)])
        assert len(await kept(store, me)) == 5 + USES_MAX

    asyncio.run(main())


def test_what_no_call_could_name_is_not_remembered(store: Store) -> None:
    async def main() -> None:
        turns, me = Turns(store, SeededClock(), Telemetry(lambda: 0.0)), who(fresh_tenant())
        odd: list[dict[str, Any]] = [
            {**use(), "type": "server_tool_use"},
            {**use(), "id": ""},
            {**use(), "id": "t" * 129},
            {**use(), "id": 1},
            {**use(), "name": None},
            {**use(), "input": "[1]"},
            {**use(), "input": orjson.loads('{"a":' * 1_000 + "1" + "}" * 1_000)},
        ]
        await turns.note(me, "ses_1", odd)
        assert await kept(store, me) == []

    asyncio.run(main())


def test_a_streams_tool_uses_are_whole_when_their_block_ends() -> None:
    def start(index: int, block: Any) -> dict[str, Any]:
        return {"type": "content_block_start", "index": index, "content_block": block}

    def piece(index: int, text: str) -> dict[str, Any]:
        delta = {"type": "input_json_delta", "partial_json": text}
        return {"type": "content_block_delta", "index": index, "delta": delta}

    def stop(index: int) -> dict[str, Any]:
        return {"type": "content_block_stop", "index": index}

    uses = Uses()
    assert uses.take([{"type": "ping"}, start(0, {"type": "text", "text": ""}), stop(0)]) == []
    assert uses.take([start(1, use(1, said={"x": 1})), start(2, use(2)), piece(2, '{"a"')]) == []
    assert uses.take([stop(1)]) == [use(1, said={"x": 1})]
    assert uses.take([piece(2, ": 2}"), stop(2), stop(2)]) == [use(2, said={"a": 2})]
    assert uses.take([start(3, use(3)), piece(3, "{"), stop(3)])[0]["input"] is None, "no call can be that"
    assert uses.take([start(4, use(4))]) == [], "a stream that breaks off asked for nothing"
    more = [uses.take([start(number, use(number)), stop(number)]) for number in range(5, USES_MAX + 9)]
    assert [len(each) for each in more] == [1] * (USES_MAX - 4) + [0] * 8, (
        "of one message so many count, however it came"
    )


def test_arguments_are_the_same_however_they_are_written_and_else_not() -> None:
    same = [{"a": 1, "b": [2.0, {"c": None}]}, {"b": [2, {"c": None}], "a": 1.0}]
    assert len({digest(one) for one in same}) == 1
    assert digest({"a": 1e300}) not in {"", digest({"a": 1e299})}, "what a model writes breaks nothing"
    assert len({digest({"a": value}) for value in (1, 1.5, "1", True, None, [1], {"1": 1})}) == 7


async def kept(store: Store, principal: Principal) -> list[str]:
    """Ids of all that is remembered for a tenant."""
    tenant = principal.tenant
    query = select(turn.c.id).where(turn.c.tenant == tenant).order_by(turn.c.id)
    return list(await store.read(lambda c: list(c.execute(query).scalars())))
