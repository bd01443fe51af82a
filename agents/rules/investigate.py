"""One investigation: plan, read, see, weigh, conclude. Deterministic given the answers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from agents.rules import changes, metrics, profiles, signs, states, templates
from agents.rules.candidates import weigh
from agents.rules.changes import Change
from agents.rules.faults import family
from agents.rules.finding import Claim, Finding
from agents.rules.metrics import Calm
from agents.rules.plan import ASKED, READS_MAX, of_servers, plan
from agents.rules.reading import Line, Series, lines, series, target
from agents.rules.scope import COMPLAINT, ELSEWHERE, Scope, in_scope
from agents.rules.signs import CAUSE, SYMPTOM, Sign
from agents.rules.verdict import SAID, SHOWN, Evidence, changed_first, conclude, ruled_out
from agents.rules.view import Facts, Query, Seen, View
from agents.rules.walk import Place, onset, passed_on, places

RANKED_MAX = 5
NAMED_MILLI = 850
SHORTAGES = frozenset({"memory", "cpu", "storage", "connections"})
UNREADABLE = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError)
"""What reading an answer of an unforeseen shape can raise: that answer is an error, the investigation goes on."""
_LISTING = ("kubectl_get_by_kind", "get_all", "top_pods", "top_nodes", "find_resource", "list")


@dataclass(slots=True)
class Material:
    """What all answers held."""

    signs: list[Sign] = field(default_factory=list)
    errors: list[Line] = field(default_factory=list)
    troubles: list[Line] = field(default_factory=list)
    changes: list[tuple[Seen, Change]] = field(default_factory=list)
    against: list[tuple[str, str, Claim]] = field(default_factory=list)
    well: list[Claim] = field(default_factory=list)
    calm: list[Calm] = field(default_factory=list)
    over: list[Line] = field(default_factory=list)
    sums: list[tuple[str, Series]] = field(default_factory=list)
    """Times that are added up, each with its observation."""
    counts: list[Series] = field(default_factory=list)
    """What was served."""
    read: set[str] = field(default_factory=set)
    measured: set[str] = field(default_factory=set)
    """Components of which a metric was read."""
    resolved: bool = False
    up: set[str] = field(default_factory=set)
    """Components whose state says that they run."""
    named: set[str] = field(default_factory=set)
    """Components of which an answer of their own names a fault."""
    checked: list[str] = field(default_factory=list)
    failed: int = 0

    def add(self, one: "Material") -> None:
        """What one more answer held."""
        for name in ("signs", "errors", "troubles", "changes", "against", "well", "calm", "over", "sums", "counts"):
            getattr(self, name).extend(getattr(one, name))
        self.read |= one.read
        self.measured |= one.measured
        self.up |= one.up
        self.resolved |= one.resolved


async def investigate(view: View) -> Finding:
    """Read what there is and say what it comes to."""
    scope = Scope(view.facts)
    material = Material(resolved=view.facts.resolved)
    await _read(view, await plan(view), scope, material)
    left = max(0, READS_MAX - len(material.checked))
    await _read(view, list(islice(of_servers(view, material.measured), left)), scope, material)
    _discount(scope, material)
    material.named = {scope.owner(sign.component) for sign in material.signs if sign.fault and sign.role == CAUSE}
    heard = (one for one in in_scope(scope, material.signs) if not _is_hearsay(one, scope))
    holding = (
        one for one in heard if not (_is_over(one, material) or _was_before(one, material) or _is_denied(one, material))
    )
    found = [_sharper(sign, material) for sign in holding]
    where = places(scope, found)
    found += _changed(scope, material, found, where)
    errors = [line for line in material.errors if scope.matters(line.component)]
    ranked = changed_first(weigh(scope, found, where, _past(view)), errors)
    calm = [one for one in material.calm if scope.matters(one.component)]
    well = [*material.well, *(made for one in calm for made in one.claims)]
    troubles = [line for line in material.troubles if scope.matters(line.component)]
    evidence = Evidence(scope, found, errors, troubles, frozenset(material.read), well, calm, material.resolved)
    verdict, why = conclude(ranked, evidence)
    passing = {name: passed_on(place) for name, place in where.items() if place.passes}
    return Finding(
        verdict=verdict,
        ranked=[one.candidate for one in ranked[:RANKED_MAX]],
        checked=material.checked,
        ruled_out=ruled_out(ranked, material.against, passing),
        why=why,
        healthy=well[:8] if verdict == "healthy" else [],
        symptoms=[sign.claim for sign in found if sign.role == SYMPTOM and sign.observation][:8],
    )


async def _read(view: View, queries: Iterable[Query], scope: Scope, material: Material) -> None:
    """Read the answers in their order; what may not be asked here is asked once."""
    refused: set[tuple[str, str]] = set()
    for query in queries:
        if (query.action, query.type) in refused:
            continue
        seen = await view.read(query)
        if _is_refused(seen):
            refused.add((query.action, query.type))
        _take(scope, seen, material)


def _is_refused(seen: Seen) -> bool:
    """Not an outage of one system, but something that may not, or cannot, be asked here: once is enough."""
    code = str(seen.value.get("code", "")) if isinstance(seen.value, Mapping) else ""
    return seen.status == "error" and bool(code) and not code.startswith("upstream.")


def _take(scope: Scope, seen: Seen, material: Material) -> None:
    """Take one answer, whole or not at all; what each step looked at stays in ``checked``."""
    asked = f"{seen.query.action} on {seen.query.id}"
    material.checked.append(f"{asked}: {seen.status} {seen.observation}".rstrip())
    if seen.status == "error":
        material.failed += 1
        return
    if seen.status == "empty":
        if seen.query.arguments.get("pattern"):
            material.read.add(seen.query.signal)  # a search for trouble that found none has looked
        return
    held = Material(resolved=material.resolved)
    try:
        _understand(scope, seen, held)
    except UNREADABLE as error:
        material.failed += 1
        material.checked[-1] = f"{asked}: error {seen.observation} (not understood: {type(error).__name__})"
    else:
        material.add(held)


def _understand(scope: Scope, seen: Seen, material: Material) -> None:
    """What one answer holds, into a ``material`` of its own."""
    if seen.query.signal == "change":
        material.changes += [(seen, change) for change in changes.read(seen)]
    owned = _owned(scope, seen)
    numbers = series(seen)
    if str(seen.query.arguments.get("kind", "")).lower() == "node":
        scope.machines.add(scope.owner(target(seen.query)))
    troubled, calm = metrics.read(seen, numbers)
    material.calm += [replace(one, component=scope.owner(one.component)) for one in calm]
    material.sums += [(seen.observation, one) for one in metrics.sums(numbers)]
    material.counts += metrics.counts(numbers)
    material.over += [line for line in signs.recoveries(owned) if line.at is not None]
    got = [*signs.read(seen, owned), *troubled]
    down, up = states.read(seen)
    waits, against = profiles.read(seen)
    got += [*down, *waits, *templates.read(seen)]
    if seen.query.signal == "alert":
        material.resolved |= _is_over_by_itself(seen.value)
        got = [] if material.resolved else _alert(scope, seen, owned)
    material.signs += got
    material.against += [(scope.owner(name), fault, made) for name, fault, made in against]
    if seen.query.signal in {"log", "trace"}:
        material.errors += signs.errors(owned)
        material.troubles += signs.troubles(owned)
    mattering = [line for line in owned if scope.matters(line.component)]
    if mattering or numbers:
        material.read.add(seen.query.signal)
    if seen.query.signal == "metric":
        material.measured |= {scope.owner(one.component) for one in numbers}
    material.up |= {scope.owner(name) for name, _ in up}
    material.well += [made for name, made in up if scope.matters(scope.owner(name))]
    material.well += states.texts(seen, [line for line in mattering if line.component == scope.service])


def _discount(scope: Scope, material: Material) -> None:
    """Times that add up faster because more was served are no latency; where nobody counted what was, they say nothing."""
    summed = {(observation, f"{one.selector} | delta"): one for observation, one in material.sums}
    for sign in [one for one in material.signs if one.kind == "latency"]:
        one = summed.get((sign.observation, str(sign.claim["selector"])))
        if one is None or (slower := metrics.slower(one, material.counts)):
            continue
        material.signs.remove(sign)
        if slower is not None:
            material.calm.append(Calm(scope.owner(one.component), "", "latency", one.name, []))


def _sharper(sign: Sign, material: Material) -> Sign:
    """A complaint that names a known component is specific, unless that runs, or has a fault of its own to show."""
    if not sign.kind.startswith(COMPLAINT) or sign.component in material.up | material.named:
        return sign
    return replace(sign, weight=max(sign.weight, NAMED_MILLI))


def _is_hearsay(sign: Sign, scope: Scope) -> bool:
    """An error that somebody was answered with, by nothing known here or by what can be asked itself and tells its own."""
    if sign.kind == metrics.ANSWERED:
        return scope.facts.nodes.get(sign.component, "process") in ASKED
    if (sign.fault, sign.weight) != ("dependency-down", signs.ANSWERED_MILLI):
        return False
    return not sign.kind.startswith(COMPLAINT) or scope.facts.nodes.get(sign.component, "process") in ASKED


def _is_over(sign: Sign, material: Material) -> bool:
    """A shortage that was reported, whose own level is well again at the end, and that somebody said is over since."""
    if not sign.fault or family(sign.fault) not in SHORTAGES or sign.at is None or sign.signal == "metric":
        return False
    calm = any((one.component, one.fault) == (sign.component, sign.fault) for one in material.calm)
    said = any(line.component == sign.component and (line.at or 0) > sign.at for line in material.over)
    return calm and said


def _was_before(sign: Sign, material: Material) -> bool:
    """A change-over that was finished before anything that was measured went wrong."""
    if sign.fault != "failover" or sign.at is None or sign.signal == "metric":
        return False
    done = [line.at for line in material.over if line.component == sign.component and (line.at or 0) > sign.at]
    began = [one.at for one in material.signs if one.signal == "metric" and one.at is not None]
    return bool(done and began) and min(at or 0 for at in done) < min(began)


def _is_denied(sign: Sign, material: Material) -> bool:
    """A line that something cannot start, of a component whose state says that it runs and did not end by itself."""
    return sign.fault in SHOWN and sign.role == CAUSE and sign.signal in SAID and sign.component in material.up


def _owned(scope: Scope, seen: Seen) -> list[Line]:
    """The answer's lines, each at the component that it belongs to."""
    listing = any(word in seen.query.action for word in _LISTING) or seen.query.signal == "state"
    found = []
    earlier = handled(scope.facts)
    for line in lines(seen):
        if line.at is not None and line.at <= earlier:
            continue
        owner = scope.of_line(line, listing=listing)
        found.append(line if owner == line.component else replace(line, component=owner))
    return found


def handled(facts: Facts) -> int:
    """When the last incident like this one was over, unix seconds; 0 for none. What was said before it belongs to that."""
    starts = facts.alert.get("starts_at")
    ends = (one.get("at") for one in facts.memory if one.get("service", facts.service) == facts.service)
    return max((at for at in ends if type(at) is int and type(starts) is int and at < starts), default=0)


def _is_over_by_itself(value: object) -> bool:
    """True where the alert itself says that nothing fires."""
    if not isinstance(value, Mapping):
        return False
    return any(
        str(value.get(name, "")).lower() in {"resolved", "normal", "ok", "inactive"} for name in ("status", "state")
    )


def _alert(scope: Scope, seen: Seen, owned: Sequence[Line]) -> list[Sign]:
    """An alert says that something is wrong, not what: one symptom, whatever words it uses."""
    if not owned:
        return []
    line = next((one for one in owned if one.selector.endswith(("title", "alertname"))), owned[0])
    quoted = signs.quote(seen.observation, line, SYMPTOM)
    source = f"{seen.query.type}/{seen.query.id}"
    return [
        Sign(scope.service, "", SYMPTOM, 200, "alert", source, seen.observation, None, quoted, line.text, kind="alert")
    ]


def _changed(scope: Scope, material: Material, found: Sequence[Sign], where: Mapping[str, Place]) -> list[Sign]:
    """Changes that touch a component which fails by itself, shortly before it began to."""
    made = []
    for component in dict.fromkeys([scope.service, *(sign.component for sign in found)]):
        if component == ELSEWHERE or not scope.matters(component):
            continue
        began = onset(where, component)
        if began is None:
            continue
        explain = [(change, changes.sign(seen, change, component, began)) for seen, change in material.changes]
        commits = [sign for change, sign in explain if sign is not None and change.named == "commit"]
        for change, sign in explain:
            # Of the commits that could explain it the last one does: what was taken back before is no cause any more.
            if sign is not None and (change.named != "commit" or sign is commits[-1]):
                made.append(sign)
    return made


def _past(view: View) -> frozenset[tuple[str, str]]:
    """What was found before and held: (component, fault) of past traces of this kind of incident."""
    held = [one for one in view.facts.memory if one.get("outcome") in {"mitigated", "improved", "confirmed"}]
    return frozenset((str(one.get("component", "")), str(one.get("fault", ""))) for one in held)
