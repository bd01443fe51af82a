"""Whole gates and one budget: together they let through what policy allows, and refuse nothing while there is room."""

import pytest

from tests.drill import limit_races
from tests.parts import postgres_url

ROUNDS = 6


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("store", "replicas"), [("sqlite", 1), ("postgres", 4)])
def test_gates_that_race_one_limit_let_through_exactly_what_it_allows(store: str, replicas: int) -> None:
    if store == "postgres":
        postgres_url()
    row = limit_races.run(store, rounds=ROUNDS)
    assert row["violations"] == []
    assert row["replicas"] == replicas
    assert set(row["passed"]) == set(row["refused"]) == {"actor", "tenant", "global"}
    assert all(row["passed"].values())
    assert all(row["refused"].values())
