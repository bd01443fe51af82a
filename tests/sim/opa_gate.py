"""A decision point whose engine is OPA, over a bundle of three rules."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.clock import SeededClock
from broker.errors import PolicyUnavailable
from broker.policy.activations import ActivationFiles
from broker.policy.bundle import Bundle, build_bundle
from broker.policy.delivery import BundleShelf
from broker.policy.keys import SigningKey
from broker.policy.opa import OpaHost, OpaSettings
from broker.policy.pdp import PolicyDecisionPoint
from broker.policy.regorus import Bounds, RegorusHost
from tests.parts import ROOT, require
from tests.sim.opa import RunningOpa, running_opa

TINY = ROOT / "tests" / "unit" / "policy" / "fixtures" / "tiny"
KEY = SigningKey("team", Ed25519PrivateKey.generate())
PATIENT = 60.0
"""Seconds for a decision where the test is about something else than time: the machine may be busy."""


def ask(*roles: str, action: str = "shop.orders.read") -> dict[str, Any]:
    return {
        "schema": "broker.input/v1",
        "subject": {"id": "dev:anna", "roles": list(roles)},
        "action": {"name": action, "effect": "read", "properties": {"arguments": {}}},
        "context": {"now_s": 1_767_225_600},
    }


def bundle(revision: str, folder: Path = TINY) -> Bundle:
    return build_bundle(folder, KEY, revision)


class Gate:
    """A decision point whose engine is OPA."""

    def __init__(self, socket: str, shelf: BundleShelf, **settings: Any) -> None:
        self.state = tempfile.TemporaryDirectory()
        self.shelf = shelf
        chosen = OpaSettings(socket, **{"timeout_seconds": PATIENT, "load_seconds": 30.0, **settings})
        self.host = OpaHost(chosen, shelf, RegorusHost(Bounds(workers=1, cpu_seconds=1.0, wall_seconds=30.0)))
        self.pdp = PolicyDecisionPoint(
            signers={KEY.id: KEY.public},
            rows=ActivationFiles(Path(self.state.name)),
            host=self.host,
            clock=SeededClock(),
        )

    async def activate(self, made: Bundle) -> None:
        await self.pdp.activate(made.archive, made.signature, by="dev:anna")

    async def code(self, question: dict[str, Any] | None = None) -> str:
        with pytest.raises(PolicyUnavailable) as caught:
            await self.pdp.decide(question or ask("oncall"))
        return caught.value.error_code

    async def aclose(self) -> None:
        await self.pdp.aclose()
        self.state.cleanup()


@asynccontextmanager
async def gate_with_opa() -> AsyncIterator[tuple[Gate, RunningOpa]]:
    require("opa")
    shelf = BundleShelf()
    async with running_opa(shelf, KEY) as opa:
        gate = Gate(opa.socket, shelf)
        try:
            yield gate, opa
        finally:
            await gate.aclose()
