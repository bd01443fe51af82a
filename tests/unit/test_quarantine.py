"""Tools in quarantine are put on record, and a server that changes them all the time does not fill the log."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

import pytest

from audit.log import Log
from audit.sqlite import SqliteStore
from broker.catalog import Action, Catalog
from broker.clock import SeededClock
from broker.connectors.base import Drift
from broker.quarantine import HOUR_SECONDS, Quarantine
from broker.records import Records
from broker.telemetry import Telemetry
from tests.unit.audit.room import open_log

PINNED = "a" * 64
TENANT = "default"


class Fickle:
    """A server whose tool is another one at each look, or the pinned one again."""

    name, problem = "tickets", ""

    def __init__(self) -> None:
        self.looks = 0
        self.code = "mcp.tool_changed"

    def start(self) -> None:
        """Nothing to connect to."""

    def drift(self, actions: Iterable[Action]) -> tuple[Drift, ...]:
        self.looks += 1
        return (Drift(self.name, "tickets.tool.do", self.code, PINNED, f"{self.looks:064x}"),) if self.code else ()


class House:
    """One tenant's log, and gates one after another that watch the server."""

    def __init__(self, folder: Path) -> None:
        self.clock = SeededClock()
        self.log: Log = open_log(SqliteStore(folder / "log.db"), folder)
        self.records = Records(self.log, clock=self.clock, pseudonym_key=bytes(32), is_action=lambda _: True)
        self.server = Fickle()
        self.gate = self.another()

    def another(self) -> Quarantine:
        return Quarantine(
            connectors={"tickets": self.server},  # type: ignore[dict-item]
            catalog=lambda: Catalog.from_manifests([]),
            revision=lambda: "r",
            records=self.records,
            telemetry=Telemetry(self.clock.monotonic),
            tenant=TENANT,
            clock=self.clock,
        )

    async def look(self, times: int) -> None:
        for _ in range(times):
            await self.gate.look()

    async def recorded(self) -> int:
        return len(await self.log.read(TENANT, after=-1, limit=100, kinds=["policy"]))


def test_a_tool_that_is_another_at_each_look_is_on_record_once_until_it_is_released(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def main() -> None:
        house = House(tmp_path)
        await house.log.start()
        try:
            await house.look(20)
            assert await house.recorded() == 1
            assert house.gate.found[0].found == f"{20:064x}"
            house.clock.advance(3 * HOUR_SECONDS)
            await house.look(20)
            assert await house.recorded() == 1
            house.gate = house.another()
            await house.look(2)
            assert await house.recorded() == 2
            house.gate = house.another()
            await house.look(2)
            assert await house.recorded() == 2
        finally:
            await house.log.aclose()

    asyncio.run(main())
    assert capsys.readouterr().err.count("tool.quarantined") == 3


def test_a_tool_that_comes_and_goes_is_on_record_once_an_hour(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def main() -> None:
        house = House(tmp_path)
        await house.log.start()
        try:
            for hour in range(1, 4):
                for code in ("mcp.tool_changed", "", "mcp.tool_absent", "") * 10:
                    house.server.code = code
                    await house.look(1)
                    assert bool(house.gate.found) == bool(code)
                assert await house.recorded() == 2 * hour
                house.clock.advance(HOUR_SECONDS)
            await house.look(1)
        finally:
            await house.log.aclose()

    asyncio.run(main())
    told = capsys.readouterr().err
    assert (told.count("tool.quarantined"), told.count("tool.released")) == (6, 6)


def test_the_last_word_on_a_tool_that_is_in_quarantine_again_is_that_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def main() -> None:
        house = House(tmp_path)
        await house.log.start()
        try:
            for code in ("mcp.tool_changed", "", "mcp.tool_changed"):
                house.server.code = code
                await house.look(1)
        finally:
            await house.log.aclose()

    asyncio.run(main())
    told = capsys.readouterr().err
    assert told.rindex("tool.quarantined") > told.rfind("tool.released")
