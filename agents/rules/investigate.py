"""One investigation: plan, read, see, weigh, conclude. Deterministic given the answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from agents.rules import changes, metrics, profiles, signs, states
from agents.rules.candidates import weigh
from agents.rules.changes import Change
from agents.rules.finding import Claim, Finding, claim
from agents.rules.plan import plan
from agents.rules.reading import Line, Series, lines, series
from agents.rules.scope import ELSEWHERE, Scope, in_scope
from agents.rules.signs import SYMPTOM, Sign
from agents.rules.verdict import Evidence, conclude, ruled_out
from agents.rules.view import Seen, View
from agents.rules.walk import onset, passed_on, places

RANKED_MAX = 5
_LISTING = ("kubectl_get_by_kind", "get_all", "top_pods", "top_nodes", "find_resource", "list")


@dataclass(slots=True)
class Material:
    """What all answers held."""

    signs: list[Sign] = field(default_factory=list)
    errors: list[Line] = field(default_factory=list)
    changes: list[tuple[Seen, Change]] = field(default_factory=list)
    against: list[tuple[str, str, Claim]] = field(default_factory=list)
    well: list[Claim] = field(default_factory=list)
    read: set[str] = field(default_factory=set)
    checked: list[str] = field(default_factory=list)
    failed: int = 0


async def investigate(view: View) -> Finding:
    """Read what there is and say what it comes to."""
    scope = Scope(view.facts)
    material = Material()
    for query in await plan(view):
        seen = await view.read(query)
        _take(scope, seen, material)
    found = in_scope(scope, material.signs)
    where = places(scope, found)
    found += _changed(scope, material, found, where)
    ranked = weigh(scope, found, where, _past(view))
    errors = [line for line in material.errors if scope.matters(line.component)]
    evidence = Evidence(scope, found, errors, frozenset(material.read), material.well, material.failed)
    verdict, why = conclude(ranked, evidence)
    passing = {name: passed_on(place) for name, place in where.items() if place.passes}
    return Finding(
        verdict=verdict,
        ranked=[one.candidate for one in ranked[:RANKED_MAX]],
        checked=material.checked,
        ruled_out=ruled_out(ranked, material.against, passing),
        why=why,
        healthy=material.well if verdict == "healthy" else [],
    )


def _take(scope: Scope, seen: Seen, material: Material) -> None:
    """Read one answer; what each step looked at stays in ``checked``."""
    asked = f"{seen.query.action} on {seen.query.id}"
    material.checked.append(f"{asked}: {seen.status} {seen.observation}".rstrip())
    if seen.status == "error":
        material.failed += 1
        return
    if seen.status == "empty":
        return
    if seen.query.signal == "change":
        material.changes += [(seen, change) for change in changes.read(seen)]
    owned = _owned(scope, seen)
    numbers = series(seen)
    got = [*signs.read(seen, owned), *metrics.read(seen, numbers)]
    down, up = states.read(seen)
    waits, against = profiles.read(seen)
    got += [*down, *waits]
    if seen.query.signal == "alert":
        got = _alert(scope, seen, owned)
    material.signs += got
    material.against += [(scope.owner(name), fault, made) for name, fault, made in against]
    if seen.query.signal in {"log", "trace"}:
        material.errors += signs.errors(owned)
    mattering = [line for line in owned if scope.matters(line.component)]
    if mattering or numbers:
        material.read.add(seen.query.signal)
        material.well += _well(scope, seen, numbers, [made for name, made in up if scope.matters(scope.owner(name))])


def _owned(scope: Scope, seen: Seen) -> list[Line]:
    """The answer's lines, each at the component that it belongs to."""
    listing = any(word in seen.query.action for word in _LISTING) or seen.query.signal == "state"
    found = []
    for line in lines(seen):
        owner = scope.of_line(line, listing=listing)
        found.append(line if owner == line.component else replace(line, component=owner))
    return found


def _alert(scope: Scope, seen: Seen, owned: Sequence[Line]) -> list[Sign]:
    """An alert says that something is wrong, not what: one symptom, whatever words it uses."""
    if scope.facts.resolved or not owned:
        return []
    line = next((one for one in owned if one.selector.endswith(("title", "alertname"))), owned[0])
    quoted = signs.quote(seen.observation, line, SYMPTOM)
    source = f"{seen.query.type}/{seen.query.id}"
    return [
        Sign(scope.service, "", SYMPTOM, 200, "alert", source, seen.observation, None, quoted, line.text, kind="alert")
    ]


def _changed(scope: Scope, material: Material, found: Sequence[Sign], where: Mapping[str, object]) -> list[Sign]:
    """Changes that touch a component which fails by itself, shortly before it began to."""
    made = []
    for component in dict.fromkeys([scope.service, *(sign.component for sign in found)]):
        if component == ELSEWHERE or not scope.matters(component):
            continue
        began = onset(where, component)  # type: ignore[arg-type]
        for seen, change in material.changes:
            one = changes.sign(seen, change, component, began)
            if one is not None and began is not None:
                made.append(one)
    return made


def _past(view: View) -> frozenset[tuple[str, str]]:
    """What was found before and held: (component, fault) of past traces of this kind of incident."""
    held = [one for one in view.facts.memory if one.get("outcome") in {"mitigated", "improved", "confirmed"}]
    return frozenset((str(one.get("component", "")), str(one.get("fault", ""))) for one in held)


def _well(scope: Scope, seen: Seen, numbers: Sequence[Series], states_well: Sequence[Claim]) -> list[Claim]:
    """What shows that something is well: a state, or a measured series."""
    made = list(states_well)
    for one in numbers[:3]:
        bound = f"{max(one.values):.6f}".rstrip("0").rstrip(".")
        words = f"{one.name} of {one.component or scope.service} is within bounds"
        selector = f"{one.selector} | max"
        made.append(claim(seen.observation, selector, "le", bound, text=words, role="context"))
    return made
