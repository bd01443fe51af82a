"""What a claim is about: the components of which its observation was made, by the gate's own record of the call.

The agent's word (``component``, prose) is not looked at. Of a resource that is a component (a process, its log, its
configuration) the answer is about that component; of a place that holds many (a metric server, a repository, a recorded
case) each row says for itself, by its labels, the paths that it touched or the one known name in it, and else the call's
arguments say. What names something that the subject depends on directly is a complaint, and about that instead: the edge.
What cannot be told is about nobody.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from broker.evidence.evaluate import Budget
from broker.evidence.observations import Observation
from broker.evidence.tracing import Found
from broker.model import Json
from broker.topology import PLACES

NAMING = (
    *("service", "component", "workload", "deployment", "app", "app_name", "service_name", "pod", "pod_name"),
    *("statefulset", "db_instance_identifier", "DBInstanceIdentifier", "db_instance", "source_identifier"),
)
"""Labels that name a component and nothing else: one with an unknown name is about that name, whoever was asked."""
KEYS = (
    *NAMING,
    *("instance", "job_name", "resource_name", "name", "keyword", "job", "container", "node", "host", "target"),
)
"""Labels and arguments that name a component, the most telling first."""
PASSED_ON = frozenset({"upstream", "downstream", "dependency", "passed", "behind"})
"""Labels of what a component only hands on: it says nothing of the one that hands it on."""
_LABELLED = ("labels", "metric")
_PATHS = ("paths", "files")
_MATCHER = re.compile(r"""([A-Za-z_][A-Za-z0-9_]*)\s*(=~|=)\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')""")
_QUERIES = ("query", "expr", "promql")
_TEXT_MAX = 4000
_INSTANCE = re.compile(r"-(?:[bcdfghjklmnpqrstvwxz2456789]{5,10}|[0-9]{1,4}|[0-9a-f]{8,10})$")
"""What a controller appends to the name of a workload for each instance: hashes in its alphabet without vowels, numbers."""
_SUFFIXES = 2


class Paths(Protocol):
    """How a fault travels; ``broker.topology.Graph`` is one."""

    @property
    def components(self) -> Collection[str]:
        """Every known name."""
        ...

    @property
    def places(self) -> Collection[str]:
        """The known names where things are only kept or measured: nothing is at fault there."""
        ...

    def path(self, component: str, symptom: str) -> tuple[str, ...]:
        """The way on which a fault of ``component`` reaches ``symptom``; empty if none."""
        ...

    def dependencies(self, component: str) -> tuple[str, ...]:
        """What ``component`` depends on directly."""
        ...


class Names:
    """The components of one submission: those of the topology, the affected service, and what the submission names.

    A place is none, whoever names it: its name in a line (``connection pool``, ``bad config``) is a word like others.
    """

    def __init__(self, paths: Paths, service: str, besides: Collection[str] = ()) -> None:
        """``besides``: names of which no topology may know."""
        self.service = service
        self._paths = paths
        self._places = frozenset(paths.places) - {service}
        self._names = frozenset({*paths.components, service, *besides} - {""}) - self._places
        words = "|".join(re.escape(name) for name in sorted(self._names, key=lambda name: (-len(name), name)))
        self._word = re.compile(rf"(?<![A-Za-z0-9-])(?:{words or '(?!)'})(?![A-Za-z0-9])(?:-[A-Za-z0-9]+)*")

    def owners(self, name: str) -> set[str]:
        """The known components that ``name`` is or is an instance of (``checkout-5d4f8c7b9-x2x9z``); else its bare name."""
        bare = name.rsplit("/", 1)[-1].strip()
        said = [bare]
        for _ in range(_SUFFIXES):
            said.append(_INSTANCE.sub("", said[-1]))
        return {one for one in said if one in self._names} or {bare}

    def mentioned(self, text: str) -> set[str]:
        """Every component that ``text`` names, itself or one of its instances, as a whole word."""
        return {owner for name in self._word.findall(text[:_TEXT_MAX]) for owner in self.known(self.owners(name))}

    def known(self, names: Collection[str]) -> set[str]:
        """Those of ``names`` that are components."""
        return {*names} & self._names

    def at_fault(self, names: Collection[str]) -> frozenset[str]:
        """Those of ``names`` that can be at fault: known ones, and unknown ones that are no place."""
        return frozenset({*names} - self._places - {""})

    def edge(self, subject: str, named: Collection[str]) -> str:
        """What ``subject`` complains about: the one of its direct dependencies that is named; else ``subject``."""
        needed = [one for one in self._paths.dependencies(subject) if one in named and one != subject]
        return needed[0] if len(needed) == 1 and self.reaches(subject) else subject

    def reaches(self, component: str) -> bool:
        """Whether a fault of ``component`` can show at the affected service."""
        return component == self.service or bool(self._paths.path(component, self.service))


def about(seen: Observation, found: Sequence[Found], names: Names, budget: Budget) -> frozenset[str]:
    """The components that every one of ``found`` is about; empty where that is nobody, or cannot be told."""
    asked, place = _of_call(seen, names), _is_place(seen)
    common = asked
    for number, one in enumerate(found):
        budget.spend(5 + (len(one.node) // 256 if isinstance(one.node, str) else 0))
        here = _of_row(one, asked, names, place=place)
        common = here if number == 0 else common & here
    return names.at_fault(common)


def _is_place(seen: Observation) -> bool:
    return seen.resource.get("type", "") in PLACES


def _of_call(seen: Observation, names: Names) -> set[str]:
    """Of whom was asked."""
    if not _is_place(seen):
        return names.owners(seen.resource.get("id", ""))
    for name in _QUERIES:
        if isinstance(text := seen.arguments.get(name), str):
            return _of_query(text, names)
    return _first_named(seen.arguments, names)


def _of_query(query: str, names: Names) -> set[str]:
    """The component that the matchers of a query hold it to; nobody where they name several."""
    said = {name: set[str]() for name in KEYS}
    for name, sign, text in _MATCHER.findall(query):
        bare = text[1:-1].rstrip(".*+$").rstrip("-") if sign == "=~" else text[1:-1]
        if name in said and not re.search(r"[|()\[\]\\^]", bare):
            said[name] |= names.owners(bare)
    first = next((found for found in said.values() if found), set())
    return first if len(first) == 1 else set()


def _first_named(members: Mapping[str, Json], names: Names, keys: Sequence[str] = KEYS) -> set[str]:
    """The component that the first of the naming members names; a known one before an unknown one."""
    values = [value for key in keys if isinstance(value := members.get(key), str) and value and "*" not in value]
    owned = [names.owners(value) for value in values]
    known = [one for one in owned if names.known(one)]
    return next(iter(known or owned), set())


def _of_row(found: Found, asked: set[str], names: Names, *, place: bool) -> set[str]:
    """Of whom one node tells; of nobody that can be named where a label says that it was passed on."""
    row = found.row or {}
    if any(value.lower() in PASSED_ON for value in _label_values(found)):
        return set()
    subjects = (_in_row(row, found, names) or asked) if place else asked
    text = found.node if isinstance(found.node, str) else ""
    lines = [one for one in found.around[-1:] if isinstance(one, str)]
    named = names.mentioned(" ".join([text, *lines])) | names.known(_label_values(found))
    return {names.edge(one, named) for one in subjects}


def _in_row(row: Mapping[str, Any], found: Found, names: Names) -> set[str]:
    """The subject that a row of a place names itself: a label, the paths that it touched, the one known name in it.

    A label that names somebody unknown is about that one: empty only where the row names nobody.
    """
    for holder in (*(one for one in reversed(found.around) if isinstance(one, Mapping)), row):
        for labels in [holder, *(holder[key] for key in _LABELLED if isinstance(holder.get(key), Mapping))]:
            members = {**labels, **_dimensions(labels)}
            said = names.known(_first_named(members, names)) or _first_named(members, names, NAMING)
            if said:
                return said
    touched = [given for key in _PATHS if isinstance(given := row.get(key), list)]
    paths = [path for given in touched for path in given if isinstance(path, str)]
    if paths:
        return set().union(*(names.mentioned(path) for path in paths))
    texts = [found.node, *found.around[-1:], *row.values()]
    return names.mentioned(" ".join(one for one in texts if isinstance(one, str)))


def _dimensions(row: Mapping[str, Any]) -> dict[str, str]:
    """Labels as a list of names and values."""
    given = row.get("dimensions")
    pairs = given if isinstance(given, list) else []
    return {str(one["Name"]): str(one.get("Value", "")) for one in pairs if isinstance(one, Mapping) and "Name" in one}


def _label_values(found: Found) -> set[str]:
    """What the labels around a node say."""
    holders = [one for one in (*found.around, found.node) if isinstance(one, Mapping)]
    labels = [one[key] for one in holders for key in _LABELLED if isinstance(one.get(key), Mapping)]
    return {value for one in labels for value in one.values() if isinstance(value, str)}
