"""What came of a run, judged by lines of files and of the log."""

from collections.abc import Sequence
from typing import Any

import pytest

from demo.faults import FAULTS
from demo.outcome import EXPECTED, recovered

Lines = Sequence[tuple[int, int, float]]


def lines(*samples: tuple[int, int, float], service: str = "storefront") -> list[dict[str, Any]]:
    return [
        {"at": at, "service": service, "requests": requests, "errors": errors, "p99_ms": p99}
        for at, (requests, errors, p99) in enumerate(samples)
    ]


GOOD, BAD, SLOW, SILENT = (20, 0, 50.0), (20, 15, 50.0), (3, 0, 500.0), (0, 0, 0.0)


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([GOOD] * 5 + [BAD] * 4 + [GOOD] * 5, True),
        ([GOOD] * 5 + [SLOW] * 6 + [GOOD] * 6, True),
        ([GOOD] * 5 + [BAD] * 4 + [GOOD] * 2, False),
        ([GOOD] * 5 + [BAD] * 4 + [GOOD] * 5 + [BAD], False),
        ([GOOD] * 5 + [SLOW] * 8, False),
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
