"""Workers are killed in the middle of anything: every incident still ends, each step happens once, in order."""

import asyncio
import os
import random
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest

from broker.incidents import TRANSITIONS
from broker.store import Store
from tests.shop import Shop
from tests.stores import KINDS, PATIENT, fresh_url

WORKER = Path(__file__).with_name("worker.py")
ROOT = Path(__file__).parents[3]
INCIDENTS = 6
KILLS = 4
LIFE_S = 40
"""How far the clock of a worker is ahead of that of the one that it follows: holds of the dead run out."""


async def worker(url: str, shop: Shop, number: int, lines: Counter[str], kill_after: int) -> bool:
    """Run one worker to its end, or kill it once it said so many lines; True if it ended by itself."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(WORKER),
        url,
        shop.tenant,
        f"w{number}",
        str(number * LIFE_S),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    said = 0
    async for line in process.stdout:
        word, _, step = line.decode().strip().partition(" ")
        if word == "finished":
            lines[step] += 1
        said += 1
        if said == kill_after:
            process.send_signal(signal.SIGKILL)
    return await process.wait() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_workers_that_are_killed_anywhere_leave_every_incident_finished_once(kind: str, tmp_path: Path) -> None:
    url = fresh_url(kind, tmp_path)
    store = Store(url, timeouts=PATIENT)
    store.migrate()
    shop = Shop(store, open_max=100)
    lines: Counter[str] = Counter()
    chance = random.Random(7)

    async def lives(first: int) -> None:
        """One place at which workers follow each other: some are killed, the last one ends."""
        for number in range(first, first + 60, 2):
            kill_after = chance.randint(1, 25) if number < first + KILLS else 0
            if await worker(url, shop, number, lines, kill_after):
                return

    async def main() -> None:
        opened = [
            await shop.receive("search", fingerprint=f"f{number}", env=f"e{number}") for number in range(INCIDENTS)
        ]
        await asyncio.gather(lives(0), lives(1))
        for one in opened:
            now = await shop.get(one)
            assert now.state == "closed"
            states = [
                (event.from_state, event.to_state)
                for event in await shop.incidents.events(shop.tenant, one.id)
                if event.from_state != event.to_state
            ]
            assert set(states) <= TRANSITIONS
            assert len(set(states)) == len(states)
        rows = await shop.work.page(shop.tenant, states=("due", "aside"))
        assert rows == []

    asyncio.run(main())
    store.close()
    assert lines
    assert max(lines.values()) == 1
