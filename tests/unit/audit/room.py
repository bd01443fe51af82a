"""Parts that the tests of the audit log share: records, logs of fixed keys, and a forger with the log's key."""

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from audit import canonical, merkle, tiles
from audit.checkpoint import Checkpoint
from audit.log import Log
from audit.merkle import leaf_hash
from audit.payload import LocalKey
from audit.publisher import Publisher
from audit.record import Draft
from audit.signer import FileSigner
from audit.store import Store

NAME = "example.org/audit"
TENANT = "default"
ORIGIN = f"{NAME}/{TENANT}"
KEY = bytes(range(32))
START_NS = 1_700_000_000_000_000_000

ACTOR = {"ref": "agt_" + "0" * 32, "kind": "agent", "client": "triage"}
DIGEST = "sha256:" + "a" * 64


def counted() -> Callable[[int], bytes]:
    """Random bytes that are the same on every run: not for keys outside of tests."""
    number = itertools.count()
    return lambda length: (next(number).to_bytes(4, "big") * length)[:length]


def intent(event_id: str, **more: Any) -> Draft:
    """An intent of the session ses_1 unless told otherwise."""
    body = {
        "actor": ACTOR,
        "session": "ses_1",
        "action": {"name": "local.process.restart", "effect": "write", "idempotent": False},
        "request_digest": DIGEST,
        "decision": {"effect": "permit", "tier": 2, "reasons": ["tier2.approved"], "obligations": ["approval"]},
    }
    return Draft(**({"kind": "intent", "id": event_id, "time_ns": START_NS, "body": body, "stream": "ses_1"} | more))


def outcome(event_id: str, about: str, **more: Any) -> Draft:
    """The outcome of an intent."""
    body = {"session": "ses_1", "outcome": {"status": "done", "bytes": 12}}
    fields = {"kind": "outcome", "id": event_id, "time_ns": START_NS + 1, "body": body, "stream": "ses_1"}
    return Draft(**(fields | {"about": about} | more))


def erasure(event_id: str, key: str) -> Draft:
    """The record of an erased data key."""
    return Draft("erasure", event_id, START_NS + 2, {"erasure": {"key": key, "basis": "request"}})


def open_log(store: Store, folder: Path, **more: Any) -> Log:
    """A log with the fixed key in `folder`/keys."""
    path = folder / "keys" / "log.key"
    signer = FileSigner.from_file(path) if path.exists() else FileSigner.create(path, KEY)
    return Log(store, name=NAME, signer=signer, keys=LocalKey(KEY), **({"random": os.urandom} | more))


def publisher(store: Store, folder: Path) -> Publisher:
    """A publisher for the log of `open_log`."""
    return Publisher(store, FileSigner.from_file(folder / "keys" / "log.key"), folder, ORIGIN)


def chain(count: int, *, origin: str = ORIGIN, change: Mapping[int, Mapping[str, Any]] | None = None) -> list[bytes]:
    """Leaf bytes of `count` well-formed records; `change` overrides fields of some before they are linked."""
    entries: list[bytes] = []
    last = merkle.EMPTY_ROOT.hex()
    for number in range(count):
        record: dict[str, Any] = {"v": "audit-record/1", "log": origin, "tenant": TENANT, "seq": number, "prev": last}
        record |= {"id": f"ev-{number}", "time_ns": str(START_NS + number), "kind": "config"}
        record |= {"body": {"config": {"digest": DIGEST}}, "streams": [{"id": "boot", "seq": number, "prev": last}]}
        record |= (change or {}).get(number, {})
        entries.append(canonical.encode(record))
        last = leaf_hash(entries[-1]).hex()
    return entries


def forge(folder: Path, entries: Sequence[bytes], *, origin: str = ORIGIN, key: bytes = KEY) -> Path:
    """Publish any bytes as a log, signed: what somebody with the log's key can do."""
    leaves = [leaf_hash(entry) for entry in entries]
    read = merkle.reader_of(leaves)
    for index, width in tiles.spans(0, 0, len(entries)):
        put(folder / tiles.bundle_path(index, width), tiles.join_bundle(entries[index * 256 : index * 256 + width]))
    level = 0
    while len(entries) >> (8 * level):
        for index, width in tiles.spans(level, 0, len(entries)):
            put(folder / tiles.tile_path(level, index, width), tiles.join_tile(list(read(level, index * 256, width))))
        level += 1
    checkpoint = Checkpoint(origin, len(entries), merkle.root(len(entries), read))
    memory = folder.parent / f"{folder.name}.forged"
    memory.unlink(missing_ok=True)
    signer = FileSigner(key, memory)
    put(folder / "checkpoint", str(signer.sign(checkpoint, lambda _old, _new: [])).encode())
    put(folder.parent / f"{folder.name}.vkey", f"{signer.verifier(origin)}\n".encode())
    return folder


def put(path: Path, content: bytes) -> None:
    """Write a file and its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
