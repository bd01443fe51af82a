"""The acts by which people see who acts and what is used."""

from typing import TYPE_CHECKING

from broker.incident_acts import Act
from broker.roster import Roster
from broker.usage import Usage

if TYPE_CHECKING:
    from broker.wiring.gate import Wiring


def seeing(gate: "Wiring") -> dict[str, Act]:
    """``gate.usage.read`` and ``gate.agents.read``."""
    usage = Usage(
        store=gate.store,
        index=gate.log_index,
        names=gate.names,
        limits=gate.limits,
        policy=gate.policy,
        prices=gate.settings.usage.prices,
        clock=gate.clock,
    )
    roster = Roster(
        store=gate.store,
        kills=gate.kills,
        sessions=gate.sessions,
        records=gate.records,
        index=gate.log_index,
        usage=usage,
        policy=gate.policy,
        clock=gate.clock,
    )
    return {**usage.acts, **roster.acts}
