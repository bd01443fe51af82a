"""What people read, try and ask of the policy: two rooms of acts that only the gate's acts need."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from broker.model import Json, Principal
from broker.policy.bundle import Bundle
from broker.policy_acts import Act, PolicyActs
from broker.simulating import Simulating

if TYPE_CHECKING:
    from broker.wiring.gate import Wiring


def policing(gate: "Wiring") -> Mapping[str, Act]:
    """The acts of both, by name. Each process keeps what it tried and opened; bundles never change."""

    def asks(principal: Principal, bundle: Bundle) -> Mapping[str, Mapping[str, Json]]:
        return simulating.asks(principal, bundle)

    policies = PolicyActs(policy=gate.policy, bundles=gate.bundles, kills=gate.kills, asks=asks)
    simulating = Simulating(
        policy=gate.policy,
        bundle=policies.bundle,
        kills=gate.kills,
        records=gate.records,
        sessions=gate.sessions,
        inventory=gate.settings.resource,
        connectors=lambda: gate.connectors,
        clock=gate.clock,
    )
    return {**policies.acts, **simulating.acts}
