"""``kill -9`` under load, a small campaign on each database: what was acknowledged is there, nothing happened twice."""

import os
from pathlib import Path

import pytest

from tests.drill.__main__ import drill
from tests.parts import postgres_url

KILLS = int(os.environ.get("WICKETGATE_DRILL_KILLS", "10"))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_ten_kills_lose_no_acknowledged_record_and_repeat_no_effect(tmp_path: Path, store: str) -> None:
    if store == "postgres":
        postgres_url()
    row = drill(store, kills=KILLS, seed=7, folder=tmp_path)
    assert row["violations"] == []
    assert row["kills"] == KILLS
    assert row["acknowledged"] >= KILLS, row
    # Not one effect an acknowledgement: an action may be answered as failed, and answered again after a restart.
    assert row["effects"] >= KILLS // 2, row
