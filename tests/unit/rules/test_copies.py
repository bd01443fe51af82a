"""Copies of a database fail by themselves, and a change-over that ended before the trouble began is not its cause."""

from typing import Any

import pytest

from agents.rules import Facts
from tests.unit.rules.test_investigate import found
from tests.unit.rules.views import BEGIN, END, FAULT_AT, POINTS, STEP

Json = Any
LAGGING = "orders-prod-replica-1"


def orders() -> Facts:
    """A database, and an alert of the lag of its copy, which the topology does not have."""
    return Facts("inc_1", "Replication lag", "orders-prod", "prod", BEGIN, END, nodes={"orders-prod": "process"})


def lag(of: str, *, at: int = FAULT_AT) -> Json:
    """Seconds behind, a few until ``at`` and ever more from there on."""
    points = [(BEGIN + place * STEP, 5 + max(0, BEGIN + place * STEP - at)) for place in range(POINTS)]
    row = {
        "metric_name": "ReplicaLag",
        "timestamps": [at for at, _ in points],
        "values": [value for _, value in points],
    }
    return {"metric_data_results": [row | {"dimensions": [{"Name": "DBInstanceIdentifier", "Value": of}]}]}


def told(*events: tuple[int, str]) -> Json:
    """Events of the primary."""
    return {"events": [{"date": at, "message": text, "source_identifier": "orders-prod"} for at, text in events]}


def test_the_lag_of_a_copy_is_not_its_primarys_fault_though_no_topology_has_the_copy() -> None:
    finding = found({("local.metrics.range", "orders-prod", "shop_errors_total"): lag(LAGGING)}, orders())
    assert [one.component for one in finding.ranked] == [LAGGING]
    assert finding.verdict == "abstain", "one signal"


@pytest.mark.parametrize(("began", "named"), [(FAULT_AT, False), (BEGIN + 32 * STEP, True)])
def test_a_change_over_that_was_finished_before_anything_went_wrong_is_not_named(began: int, named: bool) -> None:
    answers = {
        ("local.metrics.range", "orders-prod", "shop_errors_total"): lag(LAGGING, at=began),
        ("local.logs.search", "orders-prod", ""): told(
            (BEGIN + 30 * STEP, "A Multi-AZ failover has been initiated for DB instance orders-prod."),
            (BEGIN + 36 * STEP, "DB instance orders-prod has finished a Multi-AZ failover and is available."),
        ),
    }
    ranked = [(one.component, one.fault) for one in found(answers, orders()).ranked]
    assert (("orders-prod", "failover") in ranked) is named
