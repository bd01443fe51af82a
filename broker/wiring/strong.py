"""What needs more than a sign-in: keys that people sign with, and break-glass."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from broker.alarms import Alarms
from broker.authenticator_acts import Act, AuthenticatorActs, Signing
from broker.authenticators import Authenticators
from broker.breakglass_acts import WORK, BreakglassActs
from broker.work import Claimed

if TYPE_CHECKING:
    from broker.wiring.gate import Wiring


def strong(gate: "Wiring") -> Mapping[str, Act]:
    """The acts of both, by name."""
    keys = AuthenticatorActs(_desk(gate), gate.records)
    glass = BreakglassActs(
        desk=gate.breakglass,
        records=gate.records,
        work=gate.work,
        catalog=lambda: gate.policy.catalog,
        clock=gate.clock,
    )
    return {**keys.acts, **glass.acts}


def signing(gate: "Wiring") -> Signing:
    """The check of a signed review."""
    return Signing(desk=_desk(gate), approvals=gate.approvals, records=gate.records, clock=gate.clock)


def alarming(gate: "Wiring") -> Mapping[str, Callable[[Claimed], Awaitable[None]]]:
    """The gate's own work that tells people's systems of a break-glass."""
    alarms = Alarms(
        pipeline=gate.pipeline,
        desk=gate.breakglass,
        work=gate.work,
        clock=gate.clock,
        receivers=gate.settings.incidents.notify,
        url=gate.settings.url,
    )
    return {WORK: alarms.tell}


def _desk(gate: "Wiring") -> Authenticators:
    return Authenticators(gate.store, gate.clock, key=gate.keys.secret("authenticators.key"), url=gate.settings.url)
