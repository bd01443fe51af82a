"""A page while the database is locked or the log cannot be written: it says so in time, does nothing, and comes back."""

import asyncio
from pathlib import Path

import pytest

from audit.sqlite import SqliteStore
from broker.store.engine import Store, Timeouts
from tests.e2e.console.test_reviewing import INBOX, answer, proposed
from tests.e2e.test_bad_days_storage import locked
from tests.sim.visitor import signed_in
from tests.sim.world import world

PAGES = (INBOX, "/console/live", "/console/audit", "/console/incidents", "/console/exports", "/console/agents")


@pytest.mark.parametrize("name", ["gate.db", "audit.db"])
def test_a_page_of_a_locked_database_ends_in_time_with_what_to_do_and_does_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(SqliteStore.__init__, "__kwdefaults__", {"busy_seconds": 0.1})
    monkeypatch.setitem(Store.__init__.__kwdefaults__, "timeouts", Timeouts(lock_ms=100, statement_ms=1_000))

    async def main() -> None:
        async with world(tmp_path) as it:
            waiting, ann = await proposed(it), await signed_in(it, "security")
            token = await ann.token()
            with locked(it.data / name):
                for path in PAGES:
                    page = await asyncio.wait_for(ann.open(path), 60)
                    assert page.status_code in {200, 503}, path
                    if page.status_code == 503:
                        assert int(page.headers["retry-after"]) >= 1
                        assert "<main" in page.text
                        assert "Traceback" not in page.text
                fields = {"digest": waiting["approval"]["digest"], "verdict": "approve", "reason": "x", "key": "k"}
                late = await ann.send(f"{INBOX}/{waiting['approval']['id']}/reviews", fields, token=token)
                assert late.status_code == 503
                assert it.restarts() == 0
            for path in PAGES:
                assert (await ann.open(path)).status_code == 200, path
            assert (await answer(ann, waiting)).status_code == 303
            await ann.client.aclose()

    asyncio.run(main())
