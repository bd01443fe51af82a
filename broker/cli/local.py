"""What the command does on the host itself, with the gate's configuration and data folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from broker.cli.exits import Stop

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from broker.config import Settings

DEV_KEY = "policy-dev.key"
NOT_OF_THE_PROFILE = ("allow_networks", "ca_file")
"""Settings of an issuer that say how to reach it."""


def settings(config: Path | None, data: Path | None) -> "Settings":
    """The configuration, with ``data`` in place of its data folder."""
    from broker import config as configuration

    read = configuration.load(config)
    chosen = (data or read.gate.data).absolute()
    return read.model_copy(update={"gate": read.gate.model_copy(update={"data": chosen})})


def database(chosen: "Settings") -> str:
    """Address of the database, as the gate composes it."""
    return chosen.store.url or f"sqlite:///{chosen.gate.data / 'gate.db'}"


def signers(chosen: "Settings") -> "Mapping[str, Ed25519PublicKey]":
    """Who may sign bundles; the pair of a development gate counts in its own folder, where it lies."""
    from broker.policy import keys

    texts = {name: path.read_text(encoding="utf-8") for name, path in chosen.policy.signers.items()}
    found = keys.read_signers(texts)
    folder = chosen.gate.data / "keys"
    if not found and (folder / DEV_KEY).exists():
        key = keys.dev_key(folder, dev=True)
        found[key.id] = key.public
    return found


async def rollback(chosen: "Settings", digest: str, *, by: str) -> dict[str, Any]:
    """Record first, then put a formerly active bundle back into force. The gate may run, be down or be locked out."""
    from broker.clock import SystemClock
    from broker.policy.pdp import formerly_active, rollback_offline
    from broker.wiring import Wiring

    if not (chosen.gate.data / "keys" / "log.key").exists():
        raise Stop(f"{chosen.gate.data} is no gate's data folder", "give --data, or --config with gate.data")
    parts, trusted = Wiring(chosen, clock=SystemClock()), signers(chosen)
    try:
        bundle = await formerly_active(parts.bundles, digest, trusted)
        history = await parts.bundles.history()
        await parts.log.start()
        try:
            receipt = await parts.records.policy(
                chosen.gate.default_tenant,
                verb="rollback",
                digest=digest,
                previous=history[-1].digest,
                revision=bundle.revision,
                event=f"policy.{len(history)}.{digest[:16]}",
            )
        finally:
            await parts.log.aclose()
        done = await rollback_offline(parts.bundles, digest, trusted, parts.clock, by=by)
    finally:
        parts.store.close()
    seen = {"log": receipt.log, "seq": receipt.seq, "leaf": receipt.leaf}
    return {"digest": done.digest, "revision": done.revision, "seq": done.seq, "record": seen}


async def simulate(folder: Path, value: Mapping[str, Any]) -> dict[str, Any]:
    """Decide one policy input with a folder, signed with a throw-away key."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from broker.policy.bundle import build_bundle
    from broker.policy.explain import simulate as explained
    from broker.policy.keys import SigningKey
    from broker.simulating import simulated

    bundle = build_bundle(folder, SigningKey("check", Ed25519PrivateKey.generate()), "0-check")
    return simulated(await explained(value, bundle))
