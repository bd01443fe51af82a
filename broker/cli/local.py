"""What the command does on the host itself, with the gate's configuration and data folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from broker.cli.exits import Stop

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from audit.store import Store as LogStore
    from broker.config import Settings

DEV_KEY = "policy-dev.key"


def settings(config: Path | None, data: Path | None) -> "Settings":
    """The configuration, with ``data`` in place of its data folder."""
    from broker import config as configuration

    read = configuration.load(config)
    chosen = (data or read.gate.data).absolute()
    return read.model_copy(update={"gate": read.gate.model_copy(update={"data": chosen})})


def log_store(chosen: "Settings") -> "LogStore":
    """Where the gate keeps its records; the folder must be a gate's."""
    if chosen.store.url:
        from audit.postgres import PostgresStore

        return PostgresStore(chosen.store.url.replace("postgresql+psycopg://", "postgresql://", 1))
    from audit.sqlite import SqliteStore

    database = chosen.gate.data / "audit.db"
    if not database.exists():
        raise Stop(f"{chosen.gate.data} is no gate's data folder", "give --data, or --config with gate.data")
    return SqliteStore(database)


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
    import os

    from audit.keyfile import read_key
    from audit.log import Log
    from audit.payload import LocalKey
    from audit.signer import FileSigner
    from broker.clock import SystemClock
    from broker.policy.activations import ActivationFiles
    from broker.policy.pdp import formerly_active, rollback_offline
    from broker.records import Records

    store = log_store(chosen)
    keys = chosen.gate.data / "keys"
    clock = SystemClock()
    rows = ActivationFiles(chosen.gate.data / "policy")
    trusted = signers(chosen)
    bundle = await formerly_active(rows, digest, trusted)
    history = await rows.history()
    log = Log(
        store,
        name=chosen.audit.origin,
        signer=FileSigner.from_file(keys / "log.key"),
        keys=LocalKey(read_key(keys / "payload.key", 32)),
        random=os.urandom,
    )
    await log.start()
    try:
        records = Records(log, clock=clock, pseudonym_key=read_key(keys / "pseudonym.key", 32))
        receipt = await records.policy(
            chosen.gate.default_tenant,
            verb="rollback",
            digest=digest,
            previous=history[-1].digest,
            revision=bundle.revision,
            event=f"policy.{len(history)}.{digest[:16]}",
        )
    finally:
        await log.aclose()
    done = await rollback_offline(rows, digest, trusted, clock, by=by)
    seen = {"log": receipt.log, "seq": receipt.seq, "leaf": receipt.leaf}
    return {"digest": done.digest, "revision": done.revision, "seq": done.seq, "record": seen}


async def simulate(folder: Path, value: Mapping[str, Any]) -> dict[str, Any]:
    """Decide one policy input with a folder, signed with a throw-away key."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from broker.policy.bundle import build_bundle
    from broker.policy.explain import simulate as explained
    from broker.policy.keys import SigningKey
    from broker.records import decision_body

    found = await explained(value, build_bundle(folder, SigningKey("check", Ed25519PrivateKey.generate()), "0-check"))
    rules = [{"rule": one.rule, "title": one.title, "file": one.file, "line": one.line} for one in found.held]
    return {"decision": decision_body(found.decision), "rules": rules}
