"""Which component a sign belongs to, and which components matter: the affected service, its parts, what it depends on."""

import re
from collections.abc import Sequence
from dataclasses import replace

from agents.rules.faults import family
from agents.rules.reading import Line, workload
from agents.rules.signs import Sign
from agents.rules.view import Facts

_HOST = re.compile(
    r"(?:https?://|\b(?:to|at|host|service|upstream) )[`'\"]?([A-Za-z][A-Za-z0-9.-]{1,80})(?::\d{2,5})?", re.IGNORECASE
)
_COPY = re.compile(r"-(?:replica|standby|reader|secondary|follower)(?:-\w{1,8})?$", re.IGNORECASE)
"""How copies of a database are named, whether the topology has them or not."""
COMPLAINT = "complaint of"
"""Kind of a sign that somebody else's words moved to the component that they name."""
PART = "part"
"""Type of a node that no inventory described: recorded calls were directed at it."""
ELSEWHERE = "\x00elsewhere"
"""The owner of lines about components that do not matter here."""


class Scope:
    """Names of one incident."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.service = workload(facts.service) if facts.service not in facts.nodes else facts.service
        near = (name for name in facts.components if not facts.edges or facts.depends(facts.service, name))
        self.names = tuple(dict.fromkeys((self.service, facts.service, *near)))
        self.machines: set[str] = set()
        self._known = sorted(self.names, key=len, reverse=True)

    def owner(self, name: str) -> str:
        """The component that ``name`` is, or is a part of; ``ELSEWHERE`` for one that does not matter."""
        if not name:
            return self.service
        bare = workload(name)
        for known in self._known:
            if known in {name, bare}:
                return self.service if self._is_part(known) else known
        if _COPY.search(bare):
            return bare  # a copy fails by itself: it is no part of what it is copied from
        for known in self._known:
            if bare.startswith(f"{known}-") or known.startswith(f"{bare}-"):
                return known
        return ELSEWHERE

    def _is_part(self, known: str) -> bool:
        """True for something that only a recorded call named, and whose name says that it is the service's."""
        return self.facts.nodes.get(known) == PART and known.startswith(f"{self.service}-")

    def matters(self, component: str) -> bool:
        """True for the service itself and whatever it depends on; without a topology for every known name."""
        if component == ELSEWHERE:
            return False
        if component in {self.service, self.facts.service} or not self.facts.edges:
            return True
        return self.facts.depends(self.facts.service, component)

    def of_line(self, line: Line, *, listing: bool) -> str:
        """The owner of a line. In a ``listing`` of many things a line belongs to the name in it, or to nobody."""
        if line.component:
            return self.owner(line.component)
        named = self.mentioned(line.text)
        if named:
            return named
        return ELSEWHERE if listing else self.service

    def mentioned(self, text: str, besides: str = "") -> str:
        """The longest known name in ``text``; empty for none."""
        for known in self._known:
            if known != besides and re.search(rf"(?<![A-Za-z0-9]){re.escape(known)}(?![A-Za-z0-9])", text):
                return known
        return ""

    def needed(self, sign: Sign) -> Sign:
        """A complaint about something needed, moved to what it complains about where that is a known component."""
        if sign.fault != "dependency-down":
            return sign
        host = _HOST.search(sign.text)
        named = self.mentioned(host[1], besides=sign.component) if host else ""
        named = named or self.mentioned(sign.text, besides=sign.component)
        if named and self.facts.depends(sign.component, named):
            return replace(sign, component=named, kind=f"{COMPLAINT} {sign.component}")
        return sign


_OF_MACHINES = frozenset({"node", "memory", "cpu", "storage"})


def _fits(scope: Scope, sign: Sign) -> bool:
    """A machine's description lists what happened to everything on it: only faults of machines count there."""
    return sign.component not in scope.machines or not sign.fault or family(sign.fault) in _OF_MACHINES


def in_scope(scope: Scope, signs: Sequence[Sign]) -> list[Sign]:
    """The signs that matter, each at its owner."""
    owned = [replace(sign, component=scope.owner(sign.component)) for sign in signs]
    return [scope.needed(sign) for sign in owned if scope.matters(sign.component) and _fits(scope, sign)]
