"""A gate with as many records behind it as are asked for: made up, but of the real form, linked, indexed and published.

Records are written by the log's own chain, many in a transaction and without its syncs, into the log of a gate that runs
and has no record yet; the index takes the gate's own lines of them. In proportion come what lists show: approvals that
wait or are over, incidents, sessions, exports. Payloads are left out: no list reads them.
"""

import random
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, fields
from itertools import chain, islice
from typing import Any

from sqlalchemy import Table, insert, update

from audit.chain import Attempt, Sealing, Wish
from audit.errors import Receipt
from audit.log import Entry
from audit.payload import LocalKey
from audit.record import Draft, prepare
from audit.store import Session
from broker.logbook import Line
from broker.store import Connection, approvals, exports, incidents, logindex
from broker.store.incidents import Incident
from broker.store.tables import incident, proposal, session
from tests.sim.world import World
from tests.unit.store.drafts import proposal_of

CHUNK = 5_000
SPAN_SECONDS = 30 * 86_400
START = 1_767_225_600 - SPAN_SECONDS
"""The seeded clock's own beginning, and a month before it."""
TENANT = "default"
READS = ("local.metrics.query", "local.logs.search", "gate.approvals.read")
DIGEST = "ab" * 32
_REQUEST = {
    "session": "ses_000000",
    "arguments": {},
    "diagnosis": "",
    "resource": {"type": "process", "id": "checkout", "env": "prod"},
}
_PLAN = {"summary": "restart one process", "affected": ["process/checkout (prod)"]}
FAR = 4_000_000_000
_SEALING = Sealing(LocalKey(bytes(32)), bytes)


def acts(count: int) -> Iterator[tuple[Draft, ...]]:
    """Records in the proportions of real traffic, those of one action together: mostly reads, some writes, few refusals."""
    dice, seq = random.Random(1), 0
    while seq < count:
        at_ns = (START + seq * SPAN_SECONDS // count) * 10**9
        act, read = f"act_{seq:026d}", dice.random() < 0.8
        action = dice.choice(READS) if read else "local.process.restart"
        body = _asked(act, action, dice, seq, read=read)
        more: dict[str, Any] = {"stream": body["session"], "time_ns": at_ns}
        if not read and dice.random() < 0.2:
            body["decision"] |= {"effect": "deny", "reasons": ["limits.exceeded"]}
            yield (Draft("refusal", f"{act}.refusal.0", body={**body, "error": "limits.exceeded"}, **more),)
            seq += 1
            continue
        ended = {"action": {"id": act, "name": action}, "session": body["session"]}
        ended |= {"outcome": {"status": "done", "bytes": 138, "observation": f"obs_{act[4:]}", "truncated": False}}
        yield Draft("intent", act, body=body, **more), Draft("outcome", f"{act}.outcome", about=act, body=ended, **more)
        seq += 2


def _asked(act: str, action: str, dice: random.Random, seq: int, *, read: bool) -> dict[str, Any]:
    """The body of an intent, as ``records.py`` writes it."""
    actor: dict[str, Any] = {
        "ref": f"per_{dice.randrange(40):032d}",
        "kind": "agent",
        "issuer": "sim",
        "roles": ["agent"],
    }
    if dice.random() > 0.7:
        actor["on_behalf_of"] = f"per_{100 + dice.randrange(10):032d}"
    place = {"type": "process", "id": "checkout", "env": "prod", "region": "eu-west-1"}
    return {
        "actor": actor,
        "action": {
            "id": act,
            "name": action,
            "connector": action.partition(".")[0],
            "effect": "read" if read else "write",
            "idempotent": read,
        },
        "resource": {**place, "ref": f"res_{dice.randrange(200):032d}"},
        "decision": {
            "id": f"dec_{act[4:]}",
            "effect": "permit",
            "tier": 0 if read else dice.choice((1, 2, 2, 3)),
            "reasons": ["allowlist.granted"],
            "obligations": ["cap", "limit", "redact", "residency"],
            "engine": "sim",
            "policy_revision": "1",
            "policy_digest": DIGEST,
            "input_digest": DIGEST,
        },
        "request_digest": DIGEST,
        "redaction": {"counts": {}, "profile": "default"},
        "session": f"ses_{seq // 200:06d}",
        **({"incident": f"inc_{seq // 20_000:04d}"} if dice.random() < 0.3 else {}),
    }


async def fill(it: World, count: int) -> float:
    """Put ``count`` records (or one more) and the lists beside them into a gate whose log is empty; seconds."""
    started = time.perf_counter()
    assert await it.gate.log.size(TENANT) == 0, "fill the log before anybody acts"
    await put(it, acts(count))
    await beside(it, range(count))
    await _asked_for(it, _numbers(range(count), Each().approval))
    await it.gate.background.publish()
    return time.perf_counter() - started


async def _asked_for(it: World, numbers: range) -> None:
    """Put on record what waits: the gate withdraws what is not."""
    for number in numbers[::100]:
        name = f"{number:06d}"
        body = _asked(f"act_apr{name}", "local.process.restart", random.Random(number), 0, read=False)
        told = {"id": f"apr_{name}", "digest": DIGEST, "quorum": 1, "expires_ns": f"{FAR}000000000", "signature": False}
        asked = Draft("proposal", f"apr_{name}.proposal", it.clock.now_ns(), {**body, "approval": told})
        await it.gate.log.append(TENANT, asked)


async def put(it: World, made: Iterable[tuple[Draft, ...]]) -> None:
    """Put the records of ``made`` into the log and its index."""
    made, origin = iter(made), it.gate.log.origin(TENANT)
    with closing(it.gate.log_store.connect()) as log:
        if it.gate.store.dialect == "sqlite":
            for pragma in ("synchronous = OFF", "cache_size = -400000"):
                log.rows(f"PRAGMA {pragma}")
        # No chunk ends within an action: the gate's upkeep closes an old intent that has no outcome.
        while chunk := list(chain.from_iterable(islice(made, CHUNK // 2))):
            lines = await it.gate.lines.of(TENANT, appended(log, origin, chunk))
            found = [_row(line) for line in lines]
            if not await it.gate.store.write(lambda c, found=found: logindex.add(c, TENANT, found), durable=False):
                await it.gate.log_index.catch_up(TENANT)  # the gate's own upkeep was faster, or has met other records


def appended(log: Session, origin: str, chunk: Sequence[Draft]) -> list[Entry]:
    """Append in one transaction; the entries as the log would read them."""
    wishes = [Wish(origin, TENANT, one, prepare(origin, TENANT, one), None, None, lambda: True) for one in chunk]
    attempt = Attempt({})
    attempt.run(log, wishes, _SEALING, probing=False)
    entries = []
    for wish in wishes:
        receipt, draft = attempt.answers[wish], wish.draft
        assert isinstance(receipt, Receipt), receipt
        record = wish.prepared.fields
        entries.append(Entry(origin, receipt.seq, receipt.leaf, b"", record, draft.kind, draft.time_ns, draft.id))
    return entries


_COLUMNS = tuple(field.name for field in fields(Line))


def _row(line: Line) -> dict[str, Any]:
    return {name: getattr(line, name) for name in _COLUMNS} | {"own": line.quiet}


@dataclass(frozen=True, slots=True)
class Each:
    """For how many records there is one of something else."""

    approval: int = 100
    incident: int = 1_000
    session: int = 200
    export: int = 5_000


async def beside(it: World, records: range, each: Each = Each()) -> None:
    """Put what stands beside those records into the gate's database."""
    await it.gate.store.write(lambda c: rows_beside(c, records, each))


def rows_beside(connection: Connection, records: range, each: Each) -> None:
    """The same, in somebody's own transaction."""
    _approvals(connection, _numbers(records, each.approval))
    _incidents(connection, _numbers(records, each.incident))
    _sessions(connection, _numbers(records, each.session))
    _exports(connection, _numbers(records, each.export))


def _numbers(records: range, each: int) -> range:
    return range(records.start // each, records.stop // each)


def _sessions(connection: Connection, numbers: range) -> None:
    columns = {"opened_by": "dev:agent-1", "agent": "dev:agent-1", "named": False, "incident": "", "tainted": False}
    columns |= {"intent": b"[]", "labels": b"{}", "budgets": b"{}", "expires_at": FAR, "closed_at": None}
    if numbers:
        rows = [{"tenant": TENANT, "id": f"ses_{number:06d}", "opened_at": START, **columns} for number in numbers]
        connection.execute(insert(session), rows)


def _exports(connection: Connection, numbers: range) -> None:
    for number in numbers:
        name = f"exp_{number:06d}"
        exports.add(connection, TENANT, name, party="dev:auditor", form="jsonl", query={}, last=0, now_s=START + number)
        exports.change(connection, TENANT, name, state="done", expires_at=FAR)


def _approvals(connection: Connection, numbers: range) -> None:
    """One of a hundred waits."""
    for number in numbers:
        at, name = START + number, f"{number:06d}"
        times = {"created_at": at, "changed_at": at, "expires_at": FAR, "token_expires_at": FAR}
        said = {"action": "local.process.restart", "reason": f"the error rate rose {number}", **_REQUEST}
        drafted = proposal_of(TENANT, id=f"apr_{name}", action_id=f"act_apr{name}", request=said, plan=_PLAN, **times)
        approvals.add(connection, drafted)
    over = [f"apr_{number:06d}" for number in numbers if number % 100]
    _moved(connection, proposal, over, ("denied",))


def _incidents(connection: Connection, numbers: range) -> None:
    """Nine of ten are closed."""
    for number in numbers:
        incidents.add(connection, _incident(number, START + number))
    closed = [f"inc_{number:04d}" for number in numbers if number % 10]
    _moved(connection, incident, closed, ("escalated", "learning", "closed"))


def _moved(connection: Connection, table: Table, ids: Sequence[str], states: Sequence[str]) -> None:
    """Through ``states``, as the database's own rules allow."""
    for state in states:
        for first in range(0, len(ids), 500):
            some = table.c.id.in_(ids[first : first + 500])
            connection.execute(update(table).where(table.c.tenant == TENANT, some).values(state=state))


def _incident(number: int, at: int) -> Incident:
    return Incident(
        id=f"inc_{number:04d}",
        tenant=TENANT,
        state="received",
        version=0,
        title=f"checkout answers with errors ({number})",
        service="checkout",
        env="prod",
        severity=2 + number % 3,
        fingerprint=f"{number:016x}",
        session="",
        merged_into="",
        action_id="",
        diagnosis="",
        since=at,
        until=None,
        opened_at=at,
        changed_at=at,
        closed_at=None,
        holder="",
        alert={"labels": {"service": "checkout", "env": "prod"}},
    )
