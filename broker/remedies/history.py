"""What past remedies on a target say about the next one. Pure; times are unix seconds."""

from collections.abc import Sequence
from itertools import pairwise

from broker.model import Json
from broker.store.writes import Write

HOUR_S = 3_600
DAY_S = 86_400
BEAT_S = 3_600
"""Longest gap of an oscillation."""
BEATS = 3
"""So many gaps of one length, the last one up to now, are a beat."""
NOT_DONE = frozenset({"cancelled", "failed"})
"""Outcomes of writes that did not happen."""
HELPED = "improved"
IN_VAIN = frozenset({"unchanged", "worse", "unknown"})


def target_facts(writes: Sequence[Write], *, action: str, dependents: Sequence[str], now: int) -> dict[str, Json]:
    """``context.target`` of policy's input; ``writes`` are those of the last day, oldest first."""
    done = [write for write in writes if write.outcome not in NOT_DONE]
    return {
        "dependents": list(dependents),
        "writes_hour": sum(1 for write in done if now - write.at < HOUR_S),
        "last_write_s": max((write.at for write in done), default=-1),
        "ineffective": ineffective([write.outcome for write in done]),
        "oscillating": oscillates([write.at for write in done if write.action == action], now),
    }


def ineffective(outcomes: Sequence[str]) -> int:
    """How many of the latest judged remedies in a row did not help; what is not judged yet does not count."""
    count = 0
    for outcome in reversed(outcomes):
        if outcome in IN_VAIN:
            count += 1
        elif outcome == HELPED:
            break
    return count


def oscillates(times: Sequence[int], now: int) -> bool:
    """Whether asking for the same remedy now would be the next beat of a regular one ("restarts every 11 minutes")."""
    beats = [*sorted(times)[-BEATS:], now]
    gaps = [later - earlier for earlier, later in pairwise(beats)]
    return len(gaps) == BEATS and min(gaps) > 0 and max(gaps) <= BEAT_S and max(gaps) <= 2 * min(gaps)
