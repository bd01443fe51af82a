"""Run cells of the table of faults in one world, and say which did not go as written."""

import asyncio
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from unittest import mock

from audit.sqlite import SqliteStore
from broker import pipeline
from broker.store.engine import Store, Timeouts
from tests.attacks.breaking import FAULTS, PLANTED
from tests.attacks.faults import KINDS, RUN, STEPS, Run
from tests.attacks.striking import Told, strike
from tests.sim.world import world

QUICK = Timeouts(lock_ms=100, statement_ms=1_000)
Wanted = Iterable[tuple[str, int, Run]]
"""Kind, step, and what the table says of it."""


def violations(folder: Path, wanted: Wanted) -> list[str]:
    """Strike each of ``wanted``; a line for each that differs. Locks are waited for a tenth of a second: what follows is the same."""
    with (
        mock.patch.dict(SqliteStore.__init__.__kwdefaults__, {"busy_seconds": 0.1}),
        mock.patch.dict(Store.__init__.__kwdefaults__, {"timeouts": QUICK}),
        mock.patch.object(pipeline, "RETRY_SECONDS", 0.05),
        mock.patch.object(pipeline, "RETRIES", 6_000),
    ):
        return asyncio.run(_struck(folder, wanted))


async def _struck(folder: Path, wanted: Wanted) -> list[str]:
    found = []
    async with world(folder) as it:
        for name, step, cell in wanted:
            told = await strike(it, step, FAULTS[name])
            found += [f"{name}, step {step}: {what}" for what in _wrong(cell, told)]
    return found


def _wrong(cell: Run, told: Told) -> list[str]:
    """How what came of it differs from ``cell``."""
    pairs = (
        ("the answer", told.answer, cell.answer),
        ("the effects", told.effects, cell.effects),
        ("the records", told.records, cell.records),
    )
    wrong = [f"{what}: {got!r}, not {meant!r}" for what, got, meant in pairs if got != meant]
    if PLANTED in told.text or "Traceback" in told.text:
        wrong.append("the answer says what failed inside")
    denies = "nothing was done" in told.text
    if denies and told.effects:
        wrong.append("the answer denies an effect that stands")
    if not denies and cell.answer.endswith("audit.unavailable"):
        wrong.append("the answer does not say that nothing was done")
    return wrong


def run() -> dict[str, Any]:
    """Every cell that is run, as a row of the drill."""
    began = time.monotonic()
    wanted = [
        (kind.name, step, cell)
        for kind in RUN
        for step in range(1, len(STEPS) + 1)
        if isinstance(cell := kind.cell(step), Run)
    ]
    with tempfile.TemporaryDirectory(prefix="wgfaults") as folder:
        found = violations(Path(folder), wanted)
    return {
        "campaign": "faults",
        "store": "sqlite",
        "kinds injected": len(RUN),
        "kinds held elsewhere": len(KINDS) - len(RUN),
        "cells run": len(wanted),
        "cells in all": len(KINDS) * len(STEPS),
        "seconds": round(time.monotonic() - began, 1),
        "violations": found,
    }
