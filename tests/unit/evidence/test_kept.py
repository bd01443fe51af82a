"""An incident's actions, as the log has them: which of too many are told, and how each ended."""

from pathlib import Path

import pytest

from broker import kept
from broker.answers import action_of_observation
from broker.clock import SeededClock
from broker.store import Store
from tests.unit.evidence.test_judge import METRICS, RESTART, Room

MOST = 4


@pytest.fixture
def room(store: Store, clock: SeededClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Room:
    monkeypatch.setattr(kept, "ACTIONS_MAX", MOST)
    return Room(store, clock, tmp_path)


async def told(room: Room, *sessions: str) -> list[tuple[str, str, str]]:
    """Effect, status and id of what is told, in order."""
    found = await kept.KeptInLog(room.records).actions(room.tenant, sessions)
    assert all(one["arguments"] == {"step_s": 15} and one["by"] for one in found)
    return [(one["effect"], one["status"], one["action_id"]) for one in found]


def test_a_write_without_an_outcome_is_told_though_more_reads_follow_than_there_is_room_for(room: Room) -> None:
    async def story() -> None:
        session = await room.session()
        cut_off = action_of_observation(await room.observe(session, RESTART, finished=False))
        await room.records.recovery(room.tenant, cut_off, status="unknown", detail="the gate ended")
        running = action_of_observation(await room.observe(session, RESTART, finished=False))
        reads = [action_of_observation(await room.observe(session, METRICS)) for _ in range(MOST + 2)]
        assert await told(room, session) == [
            ("write", "unknown", cut_off),
            ("write", "open", running),
            ("read", "done", reads[0]),
            ("read", "done", reads[1]),
        ]

    room.run(story)


def test_reads_make_room_for_writes_whenever_and_in_whatever_session_they_come(room: Room) -> None:
    async def story() -> None:
        first, second = await room.session(), await room.session("inc_1")
        reads = [action_of_observation(await room.observe(first, METRICS)) for _ in range(MOST + 2)]
        writes = [action_of_observation(await room.observe(second, RESTART)) for _ in range(MOST - 1)]
        assert await told(room, first, second) == [
            ("read", "done", reads[0]),
            *[("write", "done", one) for one in writes],
        ]
        more = [action_of_observation(await room.observe(second, RESTART)) for _ in range(2)]
        assert await told(room, first, second) == [("write", "done", one) for one in [*writes, more[0]]]

    room.run(story)
