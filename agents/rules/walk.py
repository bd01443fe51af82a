"""The walk from the symptom towards the cause: who fails by itself, who only passes on, who failed first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agents.rules.finding import Claim
from agents.rules.scope import Scope
from agents.rules.signs import SYMPTOM, Sign
from agents.rules.templates import SHAPES

SLACK_SECONDS = 30
PASSED_ON = frozenset({"passed-errors"})


@dataclass(frozen=True, slots=True)
class Place:
    """One component as the symptoms show it."""

    component: str
    own: bool
    """It fails, or is slow, by itself as far as can be told."""
    passes: bool
    """All its errors come from behind."""
    onset: int | None
    symptoms: Sequence[Sign]


def places(scope: Scope, signs: Sequence[Sign]) -> dict[str, Place]:
    """Each component with symptoms."""
    found: dict[str, Place] = {}
    for component in dict.fromkeys(sign.component for sign in signs):
        told = [sign for sign in signs if sign.component == component and sign.role == SYMPTOM]
        here = [sign for sign in told if sign.kind not in SHAPES]
        kinds = {sign.kind for sign in here}
        passes = bool(kinds & PASSED_ON) and "own-errors" not in kinds
        onsets = [sign.at for sign in here or told if sign.at is not None]
        own = "own-errors" in kinds or (bool(here) and not passes)
        found[component] = Place(component, own, passes, min(onsets) if onsets else None, here)
    return {name: _behind(scope, place, found) for name, place in found.items()}


def _behind(scope: Scope, place: Place, found: dict[str, Place]) -> Place:
    """A component whose errors are not told apart does not fail by itself if something behind it failed no later."""
    if "own-errors" in {sign.kind for sign in place.symptoms} or not place.own:
        return place
    for other in found.values():
        if not other.symptoms or not scope.facts.depends(place.component, other.component):
            continue
        if place.onset is None or other.onset is None or other.onset <= place.onset + SLACK_SECONDS:
            return Place(place.component, own=False, passes=True, onset=place.onset, symptoms=place.symptoms)
    return place


def passed_on(place: Place) -> list[Claim]:
    """The claims that show that a component only passes errors on."""
    return [{**sign.claim, "role": "context"} for sign in place.symptoms if sign.kind in PASSED_ON]


def onset(found: Mapping[str, Place], component: str) -> int | None:
    """When trouble began at ``component``, or anywhere if nothing is known of it."""
    here = found.get(component)
    if here is not None and here.onset is not None:
        return here.onset
    all_ = [place.onset for place in found.values() if place.onset is not None]
    return min(all_) if all_ else None
