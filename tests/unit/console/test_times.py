"""Times as people read them: absolute in UTC, and how long ago or until."""

from typing import Any, cast

import pytest

from broker.web.console.render import when

NOW = 1_767_225_600
"""2026-01-01T00:00:00Z."""


@pytest.mark.parametrize(
    ("at", "absolute", "relative"),
    [
        (NOW, "2026-01-01 00:00:00 UTC", "now"),
        (NOW - 59, "2025-12-31 23:59:01 UTC", "59 s ago"),
        (NOW - 90, "2025-12-31 23:58:30 UTC", "1 min 30 s ago"),
        (NOW + 900, "2026-01-01 00:15:00 UTC", "in 15 min"),
        (NOW - 3 * 3_600 - 120, "2025-12-31 20:58:00 UTC", "3 h 2 min ago"),
        (NOW + 200_000, "2026-01-03 07:33:20 UTC", "in 2 d 7 h"),
    ],
)
def test_a_time_is_absolute_in_utc_and_relative(at: int, absolute: str, relative: str) -> None:
    machine = absolute.replace(" UTC", "Z").replace(" ", "T")
    shown = when(cast("Any", {"now": NOW}), at)
    assert shown == f'<time datetime="{machine}">{absolute} <span class="relative">({relative})</span></time>'


@pytest.mark.parametrize("at", [0, None])
def test_what_never_was_is_never(at: int | None) -> None:
    assert when(cast("Any", {"now": NOW}), at) == "<span>never</span>"
