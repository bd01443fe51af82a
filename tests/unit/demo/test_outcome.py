"""What came of a run, judged by lines of files and of the log."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from demo import tally
from demo.faults import FAULTS, choose
from demo.layout import Layout
from demo.outcome import EXPECTED, MANUAL_ONLY, Seen, recovered
from tests.unit.demo.test_tally import publish

Lines = Sequence[tuple[int, int, float]]


def lines(*samples: tuple[int, int, float], service: str = "storefront") -> list[dict[str, Any]]:
    return [
        {"at": at, "service": service, "requests": requests, "errors": errors, "p99_ms": p99}
        for at, (requests, errors, p99) in enumerate(samples)
    ]


GOOD, BAD, SLOW, STALLED, SILENT = (20, 0, 50.0), (20, 15, 50.0), (3, 0, 500.0), (1, 0, 2500.0), (0, 0, 0.0)
"""A busy machine makes ``SLOW`` of ``GOOD``: where customers got errors it does not hide that these are over."""


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([GOOD] * 5 + [BAD] * 4 + [GOOD] * 5, True),
        ([GOOD] * 5 + [SLOW] * 6 + [GOOD] * 6, True),
        ([GOOD] * 5 + [BAD] * 4 + [GOOD] * 2, False),
        ([GOOD] * 5 + [BAD] * 4 + [GOOD] * 5 + [BAD], False),
        ([GOOD] * 5 + [SLOW] * 8, False),
        ([GOOD] * 5 + [BAD] * 4 + [SLOW] * 5, True),
        ([GOOD] * 5 + [BAD] * 4 + [STALLED] * 5, False),
        ([GOOD] * 12, False),
        ([GOOD] * 5 + [BAD] + [GOOD] * 6, False),
        ([BAD] * 4 + [SILENT] * 5, False),
        ([], False),
    ],
)
def test_recovered_means_bad_for_a_while_and_good_at_the_end(samples: Lines, expected: bool) -> None:
    assert recovered(lines(*samples)) is expected


def test_only_what_customers_meet_counts() -> None:
    assert recovered([*lines(*[GOOD] * 9), *lines(*[BAD] * 5, *[GOOD] * 5, service="payments")]) is False


def test_every_fault_has_a_right_end_and_those_of_people_change_nothing() -> None:
    assert set(EXPECTED) == set(FAULTS)
    for wanted in EXPECTED.values():
        assert bool(wanted.action) == bool(wanted.tier)
        assert not (wanted.escalated and wanted.action)
        assert wanted.tier < 3


MANUAL = {"action": "local.index.create", "code": MANUAL_ONLY}
CALL = {"verified": True, "incident": "inc_1", "evidence": {"verified": 3}, "tried": [{**MANUAL, "status": "refused"}]}
RIGHT: dict[str, Any] = {
    "refused": [{"action": "a", "code": code} for code in ("1", "2", "3", "4")] + [MANUAL],
    "approved": 0, "executed": 0, "redactions": 1, "model_calls": 6, "verified": True, "tamper_detected": True,
    "incident": {"id": "inc_1", "state": "escalated"}, "action": None, "recovered": False, "escalated": True,
    "diagnosis": {
        "verdict": "diagnosed",
        "claims": [{"verdict": "verified"}, {"verdict": "refuted"}],
        "cause": {"component": "inventory", "fault": "slow-query"},
    },
}  # fmt: skip


def broken(folder: Path, figures: Mapping[str, Any], *calls: Mapping[str, Any]) -> list[str]:
    """What is said to be wrong of a run of ``slow-query``."""
    layout = Layout(folder)
    publish(layout.log, [])
    (layout.demo / "planted.json").write_text("{}")
    (layout.demo / tally.NOTICES).write_text("".join(json.dumps(one) + "\n" for one in calls))
    return Seen(layout, tally.Mark(0, 0, 0, 0), choose("slow-query", 1), model=True).broken(figures)


def test_a_run_that_is_right_has_nothing_wrong(tmp_path: Path) -> None:
    assert broken(tmp_path, RIGHT, CALL) == []


@pytest.mark.parametrize(
    ("changes", "calls", "said"),
    [
        ({"diagnosis": {**RIGHT["diagnosis"], "cause": {"component": "payments", "fault": "slow-query"}}}, [CALL], "names"),
        ({"diagnosis": {**RIGHT["diagnosis"], "cause": {"component": "inventory", "fault": "lock-hang"}}}, [CALL], "names"),
        ({}, [], "people are called"),
        ({}, [CALL, CALL], "people are called"),
        ({}, [{**CALL, "verified": False}], "people are called"),
        ({}, [{**CALL, "incident": "inc_2"}], "people are called"),
        ({}, [{**CALL, "evidence": {"verified": 1}}], "judged claims"),
        ({}, [{**CALL, "tried": []}], "only a person may"),
        ({"refused": RIGHT["refused"][:4]}, [CALL], "only a person may"),
        ({"executed": 1}, [CALL], "executed"),
        ({"tamper_detected": False}, [CALL], "flipped"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_run_is_named(
    changes: Mapping[str, Any], calls: Sequence[Mapping[str, Any]], said: str, tmp_path: Path
) -> None:
    wrong = broken(tmp_path, {**RIGHT, **changes}, *calls)
    assert said in wrong[0]
    assert len(wrong) <= 2, "who is not called is not told of the refusal either"
