"""Did the remedy help? A pure function of what was measured before and after.

For each service level of the component and of its direct dependents there is a value before and a row of samples after,
each a decimal or None where nothing could be measured. ``improved`` needs the component's trouble to be gone, or half
gone, over the second half of the window; anything that got worse, there or on a dependent, is ``worse``, and at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from statistics import median


class Verdict(StrEnum):
    """What verification says of a remedy; ``pending`` until the window is over."""

    PENDING = "pending"
    IMPROVED = "improved"
    UNCHANGED = "unchanged"
    WORSE = "worse"
    UNKNOWN = "unknown"


LASTING = 2
"""So many samples in a row make a turn for the worse, not a blip."""


@dataclass(frozen=True, slots=True)
class Level:
    """One service level on one component, as it was measured."""

    component: str
    name: str
    better: str
    """``lower`` or ``higher``."""
    healthy: Decimal
    margin: Decimal
    dependent: bool
    before: Decimal | None
    after: tuple[Decimal | None, ...]

    def trouble(self, value: Decimal) -> Decimal:
        """How far ``value`` is on the wrong side of healthy; 0 or less where nothing needs mending."""
        return value - self.healthy if self.better == "lower" else self.healthy - value


def judge(levels: Sequence[Level], *, over: bool) -> Verdict:
    """The verdict on all levels; before the window is ``over`` only ``worse`` or ``pending``."""
    if any(_turned_worse(level) for level in levels):
        return Verdict.WORSE
    if not over:
        return Verdict.PENDING
    moved = [(level, _moved(level)) for level in levels]
    if any(how is Verdict.WORSE for _, how in moved):
        return Verdict.WORSE
    own = [(level, how) for level, how in moved if not level.dependent and not _silent(level)]
    if not own or any(how is Verdict.UNKNOWN for _, how in own):
        return Verdict.UNKNOWN
    # Nothing that was wrong may stay as it was: half a remedy is none.
    troubled = [how for level, how in own if _was_troubled(level)]
    if troubled and all(how is Verdict.IMPROVED for how in troubled):
        return Verdict.IMPROVED
    return Verdict.UNCHANGED


def shown(levels: Sequence[Level]) -> list[dict[str, object]]:
    """What was measured, for events and pages; figures as decimal text."""
    return [
        {
            "component": level.component,
            "name": level.name,
            "dependent": level.dependent,
            "before": _text(level.before),
            "after": [_text(value) for value in level.after],
        }
        for level in levels
    ]


def _silent(level: Level) -> bool:
    """Whether it could be measured neither before nor after, and so says nothing."""
    return level.before is None and all(value is None for value in level.after)


def _was_troubled(level: Level) -> bool:
    """Whether it needed mending before; what could not be measured before and can be now was in trouble."""
    return level.before is None or level.trouble(level.before) > 0


def _turned_worse(level: Level) -> bool:
    """Whether the latest samples are all clearly worse than before."""
    latest = [value for value in level.after if value is not None][-LASTING:]
    return len(latest) == LASTING and all(_worse(level, value) for value in latest)


def _worse(level: Level, value: Decimal) -> bool:
    """In trouble, and by more than the margin further than before. Without a before nothing is worse."""
    if level.before is None or level.trouble(value) <= 0:
        return False
    return level.trouble(value) - max(level.trouble(level.before), Decimal(0)) > level.margin


def _moved(level: Level) -> Verdict:
    """How one level stands over the second half of the window against before."""
    half = level.after[len(level.after) // 2 :]
    known = [value for value in half if value is not None]
    if not known or len(known) * 2 < len(half):
        return Verdict.UNKNOWN
    now = median(sorted(known))
    if _worse(level, now):
        return Verdict.WORSE
    trouble = level.trouble(now)
    if trouble <= 0:
        return Verdict.IMPROVED if _was_troubled(level) else Verdict.UNCHANGED
    if level.before is None:
        return Verdict.UNKNOWN
    gone = level.trouble(level.before) - trouble
    return Verdict.IMPROVED if gone > level.margin and gone >= trouble else Verdict.UNCHANGED


def _text(value: Decimal | None) -> str | None:
    return None if value is None else format(value.normalize(), "f")


def level_of(
    sli: Mapping[str, str],
    *,
    component: str,
    dependent: bool,
    before: Decimal | None,
    after: Sequence[Decimal | None],
) -> Level:
    """A level from its entry in ``config/slis``."""
    return Level(
        component=component,
        name=sli["name"],
        better=sli["better"],
        healthy=Decimal(sli["healthy"]),
        margin=Decimal(sli["margin"]),
        dependent=dependent,
        before=before,
        after=tuple(after),
    )
