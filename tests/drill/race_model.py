"""One approval as it is promised, one step at a time: what ``tests/drill/races.py`` compares whole gates with.

A request waits. People answer; the first yes that is on record approves it, a no ends it until it has begun. It is redeemed
once, by the request that was approved, and only while nobody stopped it, its time is not over and a replica has the policy
under which it was asked for. What a call answered must fit the state at one moment between its invocation and its return.

Whether the time is over is read from a clock, before the row is changed: of who was in time somebody else may be told a moment
later that it is expired, and still it was answered or redeemed. Nothing that reads the clock after that does either.

What nobody sees are steps of their own, that may happen or not: a redeemed approval of which nothing began (it was stopped in
between), and the gate's taking back of what cannot run any more.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Approval:
    """How one approval stands."""

    phase: str = "waiting"
    """``waiting | approved | denied | cancelled``; redeemed: ``running`` until its effect was answered, then ``ended``;
    ``stillborn`` is redeemed, and nothing began."""
    said: frozenset[str] = frozenset()
    """Who said yes."""
    stopped: bool = False
    late: bool = False
    changed: frozenset[str] = frozenset()
    """Replicas with another policy."""
    replicas: int = 1

    @property
    def open(self) -> bool:
        """Whether it may still be answered or used at all."""
        return self.phase in {"waiting", "approved"} and not self.late

    @property
    def waits(self) -> bool:
        return self.phase == "waiting" and not self.late

    @property
    def redeemable(self) -> bool:
        """Whether some replica may redeem it."""
        return self.phase == "approved" and not self.late and len(self.changed) < self.replicas

    @property
    def worthless(self) -> bool:
        """Whether it may be refused at its use though people approved it."""
        return self.stopped or self.late or bool(self.changed)


@dataclass(frozen=True, slots=True)
class Said:
    """One operation and what came of it."""

    what: str
    came: str = ""
    """The answer's class, where there is one: a code of the gate, or a status."""
    who: str = ""
    at: str = ""
    """The replica."""


Step = Callable[[Approval, Said], Approval | None]


def step(state: Approval, said: Said) -> Approval | None:
    """The state after ``said``; None where this could not come of that in this state, or nobody knows such an answer."""
    known = (_ANSWERS if said.came else _EVENTS).get(f"{said.what} {said.came}".strip())
    return known(state, said) if known else None


def is_known(said: Said) -> bool:
    """Whether the model knows such an operation with such an answer."""
    return f"{said.what} {said.came}".strip() in (_ANSWERS if said.came else _EVENTS)


def _where(holds: Callable[[Approval, Said], bool], **changes: object) -> Step:
    """A step that is possible where ``holds``, and changes the fields of ``changes``."""
    return lambda state, said: replace(state, **changes) if holds(state, said) else None  # type: ignore[arg-type]


def _yes(state: Approval, said: Said) -> Approval | None:
    """A yes is stored while it waits, once a person."""
    return replace(state, said=state.said | {said.who}) if state.waits and said.who not in state.said else None


def _counted(state: Approval, said: Said) -> Approval | None:
    """The yes is on record: it approves what still waits."""
    if said.who not in state.said:
        return None
    return replace(state, phase="approved") if state.waits else state


def _policy(state: Approval, said: Said) -> Approval | None:
    return replace(state, changed=state.changed | {said.at})


_BEGUN = frozenset({"approved", "running", "stillborn", "ended"})
"""What people approved, until everybody sees its end."""
_EVENTS: Mapping[str, Step] = {
    "yes": _yes,
    "counted": _counted,
    "time passes": _where(lambda _state, _said: True, late=True),
    "stop": _where(lambda _state, _said: True, stopped=True),
    "policy": _policy,
    # The effect arrived: it was redeemed before.
    "effect": _where(lambda state, _: state.redeemable and not state.stopped, phase="running"),
    "effect answered": _where(lambda state, _: state.phase == "running", phase="ended"),
    "redeemed for nothing": _where(lambda state, _: state.redeemable, phase="stillborn"),
    "given back": _where(lambda state, _: state.phase == "stillborn" and state.worthless, phase="cancelled"),
    "taken back": _where(
        lambda state, _: state.phase in {"waiting", "approved"} and state.worthless, phase="cancelled"
    ),
}
"""What has no answer, or is a part of something that has one."""
_ANSWERS: Mapping[str, Step] = {
    "approve closed": _where(lambda state, _: state.phase != "waiting"),
    "approve expired": _where(lambda state, _: state.late),
    "approve reviewed": _where(lambda state, said: state.waits and said.who in state.said),
    "deny denied": _where(lambda state, _: state.open, phase="denied"),
    "deny closed": _where(lambda state, _: state.phase not in {"waiting", "approved"}),
    "deny expired": _where(lambda state, _: state.late),
    "use waiting": _where(lambda state, said: state.waits and not state.stopped and said.at not in state.changed),
    "use done": _where(lambda state, _: state.phase == "ended"),
    "use running": _where(lambda state, _: state.phase == "running"),
    "use used": _where(lambda state, _: not state.open),
    "use held": _where(lambda state, _: state.phase in _BEGUN),
    "use stopped": _where(lambda state, _: state.stopped),
    "use denied": _where(lambda state, _: state.phase == "denied"),
    "use expired": _where(lambda state, _: state.late),
    "use cancelled": _where(lambda state, _: state.phase == "cancelled"),
    "use changed": _where(lambda state, said: said.at in state.changed),
    "look waiting": _where(lambda state, _: state.waits),
    # A round of MCP that ends says that it is not over.
    "look open": _where(lambda state, _: state.waits or state.phase in _BEGUN),
    "look running": _where(lambda state, _: state.phase in _BEGUN),
    "look done": _where(lambda state, _: state.phase == "ended"),
    "look denied": _where(lambda state, _: state.phase == "denied"),
    "look expired": _where(lambda state, _: state.late),
    "look stopped": _where(lambda state, _: state.stopped),
    "look cancelled": _where(lambda state, _: state.phase == "cancelled"),
}
"""What was answered."""
