"""Everybody at once about one approval, by every door, over seeds: it runs once, and as if one came after the other."""

import os

import pytest

from tests.drill import races
from tests.parts import postgres_url

RACES = int(os.environ.get("WICKETGATE_RACES", "10"))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_whoever_races_by_whatever_door_an_approved_action_runs_once_and_in_some_order(store: str) -> None:
    if store == "postgres":
        postgres_url()
    row = races.run(store, races=RACES)
    assert row["violations"] == []
    assert row["races"] == RACES
    # In each fourth nobody stands against it: it must run.
    assert row["effects"] >= RACES // 4 - row["not served"]
