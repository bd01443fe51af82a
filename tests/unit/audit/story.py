"""One record of every kind, from a fixed key, clock and random source: the source of the vectors.

`python -m tests.unit.audit.story` writes the vectors again. A change of them is a change of the format.
"""

import asyncio
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audit import merkle
from audit.record import FIELDS, Draft, pseudonym
from audit.sqlite import MemoryStore
from tests.unit.audit.room import DIGEST, KEY, ORIGIN, START_NS, TENANT, chain, counted, open_log, publisher

VECTORS = Path(__file__).parents[2] / "vectors" / "audit"

JANE = {"ref": pseudonym(KEY, TENANT, "usr", "jane"), "kind": "human"}
AGENT = {
    "ref": pseudonym(KEY, TENANT, "agt", "triage"),
    "kind": "agent",
    "on_behalf_of": JANE["ref"],
    "client": "triage",
}
RESTART = {"name": "local.process.restart", "connector": "local", "effect": "write", "idempotent": False, "id": "act_1"}
CART = {"type": "process", "id": "cart", "env": "prod", "region": "eu"}
POLICY = {"policy_revision": "2023-11-14.1", "policy_digest": DIGEST, "engine": "regorus"}
PROMPT, ANSWER = b"Warum ist der Warenkorb langsam?", b"restarted"


def _decision(tier: int, *obligations: str) -> dict[str, Any]:
    made = {
        "id": "dec_1",
        "effect": "permit",
        "tier": tier,
        "reasons": ["tier.known"],
        "obligations": list(obligations),
    }
    return {**made, **POLICY, "input_digest": DIGEST}


def _strong() -> list[tuple[str, str | None, Mapping[str, Any]]]:
    """A key that somebody signs with, and a break-glass."""
    return [
        (
            "authenticator",
            None,
            {
                "actor": JANE,
                "authenticator": {"verb": "registered", "credential": "Y3JlZA", "key": "a2V5", "owner": JANE["ref"]},
            },
        ),
        (
            "breakglass",
            None,
            {
                "actor": JANE,
                "breakglass": {"id": "bgl_1", "verb": "opened", "actions": [RESTART["name"]], "targets": 1},
            },
        ),
    ]


def drafts() -> list[Draft]:
    """The story: an agent asks for a restart, a human approves, it runs; then policy, keys, kill and erasure."""
    approval = {"id": "apr_1", "digest": DIGEST, "quorum": 1}
    approved = {**approval, "verdict": "approve", "reviewers": [JANE["ref"]]}
    limits = {"duration_s": 600, "restarts": 1}
    bodies: list[tuple[str, str | None, Mapping[str, Any]]] = [
        ("config", None, {"config": {"digest": DIGEST, "version": "1"}}),
        ("policy", None, {"actor": JANE, "policy": {"digest": DIGEST, "revision": "2023-11-14.1", "verb": "activate"}}),
        ("session_open", None, {"actor": AGENT, "session": "ses_1"}),
        ("proposal", None, {"actor": AGENT, "action": RESTART, "resource": CART, "approval": approval}),
        ("review", "proposal", {"actor": JANE, "approval": approved}),
        (
            "intent",
            None,
            {
                "actor": AGENT,
                "session": "ses_1",
                "action": RESTART,
                "resource": CART,
                "request_digest": DIGEST,
                "decision": _decision(2, "approval", "limit"),
                "approval": approved,
                "grant": {"id": "grant_1", "expires_ns": str(START_NS + 60_000_000_000)},
                "plan": {"fingerprint": DIGEST},
                "redaction": {"profile": "default", "counts": {"EMAIL_ADDRESS": 1}},
                "limits": limits,
                "trace": {"trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7ad6b7169203331"},
            },
        ),
        (
            "outcome",
            "intent",
            {"session": "ses_1", "outcome": {"status": "done", "bytes": len(ANSWER), "duration_ns": "5"}},
        ),
        (
            "refusal",
            None,
            {"actor": AGENT, "session": "ses_1", "error": "policy.denied", "decision": {"effect": "deny"}},
        ),
        ("recovery", "intent", {"outcome": {"status": "unknown", "code": "restart"}}),
        ("kill", None, {"actor": JANE, "kill": {"scope": "agent", "target_ref": AGENT["ref"]}}),
        ("resume", "kill", {"actor": JANE, "kill": {"scope": "agent", "target_ref": AGENT["ref"]}}),
        ("session_close", None, {"session": "ses_1", "counts": {"actions": 1}}),
        ("key_change", None, {"key": {"purpose": "log", "name": ORIGIN, "fingerprint": DIGEST}}),
        ("export", None, {"actor": JANE, "export": {"digest": DIGEST, "entries": 13, "first": 0, "last": 12}}),
        ("erasure", None, {"actor": JANE, "erasure": {"key": "ses_1", "basis": "request"}}),
        (
            "incident",
            None,
            {
                "incident": "inc_1",
                "event": {"kind": "note", "seq": 1, "by": JANE["ref"], "from": "triaging", "to": "noise"},
            },
        ),
        *_strong(),
    ]
    made = []
    for number, (kind, about, body) in enumerate(bodies):
        fields: dict[str, Any] = {"about": f"ev-{about}" if about else None}
        if body.get("session") == "ses_1":
            fields |= {"stream": "ses_1", "streams": ("inc_1",)}
        payload = {"intent": PROMPT, "outcome": ANSWER}.get(kind)
        fields |= {"payload": payload, "payload_key": "ses_1"} if payload else {}
        made.append(Draft(kind, f"ev-{kind}", START_NS + number * 1_000_000, body, **fields))
    return made


async def write(folder: Path) -> None:
    """Append the story and publish it under `folder`, with its exact leaves and sealed payloads as text."""
    store = MemoryStore()
    log = open_log(store, folder, random=counted())
    await log.start()
    boxes: dict[int, bytes | None] = {}
    for draft in drafts():
        if draft.kind == "erasure":
            session = store.connect()
            boxes = {seq: session.box(ORIGIN, seq) for seq in range(16)}
            await log.erase(TENANT, "ses_1", draft)
        else:
            await log.append(TENANT, draft)
    entries = await log.read(TENANT, limit=100)
    proof = await log.prove(TENANT, 5)
    await log.aclose()
    publisher(store, folder).publish_all()
    store.close()
    shutil.rmtree(folder / "keys")
    (folder / ".publish.lock").unlink()
    (folder / "leaves.jsonl").write_bytes(b"".join(entry.encoded + b"\n" for entry in entries))
    (folder / "leaf-hashes.txt").write_text("".join(f"{entry.leaf}\n" for entry in entries))
    (folder / "boxes.txt").write_text("".join(f"{seq} {box.hex()}\n" for seq, box in boxes.items() if box))
    (folder / "5.tlog-proof").write_text(proof)
    table = {path: [field.type, field.privacy.value, field.many] for path, field in FIELDS.items()}
    (folder / "fields.json").write_text(json.dumps(table, indent=1) + "\n")
    read = merkle.reader_of([merkle.leaf_hash(entry) for entry in chain(700)])
    sizes = (0, 1, 2, 255, 256, 257, 511, 512, 513, 700)
    (folder / "roots.txt").write_text("".join(f"{size} {merkle.root(size, read).hex()}\n" for size in sizes))


if __name__ == "__main__":
    for name in ("log", "keys"):
        shutil.rmtree(VECTORS / name, ignore_errors=True)
    VECTORS.mkdir(parents=True, exist_ok=True)
    asyncio.run(write(VECTORS))
