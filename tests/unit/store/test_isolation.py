"""Another tenant's row is absent: in every query that takes a tenant, on both databases."""

import asyncio
import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from broker.model import Session
from broker.store import (
    Connection,
    Store,
    approvals,
    counters,
    gather,
    kills,
    leases,
    logusage,
    parties,
    sessions,
    vault,
)
from broker.store.kills import Kill
from tests.stores import fresh_tenant
from tests.unit.store.drafts import answer_of, proposal_of

MODULES: tuple[ModuleType, ...] = (approvals, counters, gather, kills, leases, logusage, parties, sessions, vault)
WRITES_OWN_ROW = {
    "approvals.add_review",  # its proposal must stand in the same tenant: test_migrations
    "counters.bump",  # writes the tenant's own counter
    *("logusage.add", "logusage.forget", "logusage.name"),  # tests/unit/logbook/test_usage.py
    "parties.note",  # writes the tenant's own row: tests/unit/test_parties.py
    "leases.take",  # takes the tenant's own key: below
    "sessions.spend",  # writes the tenant's own counter: below
    "vault.put_key",  # writes the tenant's own key: below
    "vault.put_tokens",  # refused without the tenant's own key: test_vault
}

Probe = Callable[[Connection, str], Any]
PROBES: dict[str, tuple[Probe, Any]] = {
    "approvals.find": (lambda c, t: approvals.find(c, t, "apr"), None),
    "approvals.of_action": (lambda c, t: approvals.of_action(c, t, "act"), None),
    "approvals.narrow": (
        lambda c, t: approvals.narrow(c, t, "apr", old="a" * 64, new="b" * 64, arguments={}, now_s=1),
        False,
    ),
    "approvals.move": (lambda c, t: approvals.move(c, t, "apr", "approved", 1), False),
    "approvals.begin": (lambda c, t: approvals.begin(c, t, "apr-2", "a" * 64, 1_500, 60), False),
    "approvals.recorded": (lambda c, t: approvals.recorded(c, t, "apr", answer_of("a" * 64)), False),
    "approvals.drop": (lambda c, t: approvals.drop(c, t, ("apr", "dev:ann", "a" * 64, "approve")), False),
    "approvals.owed_by": (lambda c, t: approvals.owed_by(c, t, "dev:ann", 9), ()),
    "approvals.page": (lambda c, t: approvals.page(c, t, ("waiting", "approved"), 10).items, ()),
    "approvals.waiting_in": (lambda c, t: approvals.waiting_in(c, t, "ses_1", "local.process.restart", 5), ()),
    "logusage.names": (logusage.names, []),
    "logusage.of_kind": (lambda c, t: logusage.of_kind(c, t, "human", "", 5), []),
    "logusage.page": (lambda c, t: logusage.page(c, t, "", -1, 5), []),
    "logusage.some": (lambda c, t: logusage.some(c, t, ["per_ann"]), {}),
    "logusage.sums": (lambda c, t: logusage.sums(c, t, 300, 0, 300), []),
    "logusage.unnamed": (lambda c, t: logusage.unnamed(c, t, ["per_ann"]), {"per_ann"}),
    "parties.ids": (parties.ids, []),
    "parties.key_of": (lambda c, t: parties.key_of(c, t, "dev:ann"), None),
    "parties.roles_of": (lambda c, t: parties.roles_of(c, t, ["dev:ann"]), {}),
    "kills.is_killed": (lambda c, t: kills.is_killed(c, t, ("dev:agent-1", "", ""), "local"), False),
    "kills.resume": (lambda c, t: kills.resume(c, t, "agent", "dev:agent-1", "", by="dev:ann", now_s=1), False),
    "kills.resuming": (lambda c, t: kills.resuming(c, t, "agent", "dev:agent-1", "m"), False),
    "kills.state": (lambda c, t: kills.state(c, t, "agent", "dev:agent-1"), None),
    "kills.pulled": (kills.pulled, ()),
    "kills.stops": (lambda c, t: kills.is_killed(c, t, ("", "", "dev:agent-1"), "local"), False),
    "leases.holds": (lambda c, t: leases.holds(c, t, "h", {"k": 1}, 1), False),
    "leases.renew": (lambda c, t: leases.renew(c, t, "h", {"k": 1}, now_s=1, until=99), False),
    "leases.release": (lambda c, t: leases.release(c, t, "h"), None),
    "sessions.find": (lambda c, t: sessions.find(c, t, "ses"), None),
    "sessions.open_of": (lambda c, t: sessions.open_of(c, t, "dev:agent-1", 1, 5), []),
    "sessions.of_incident": (lambda c, t: sessions.of_incident(c, t, "inc"), []),
    "sessions.end": (lambda c, t: sessions.end(c, t, "ses", 1), None),
    "sessions.close": (lambda c, t: sessions.close(c, t, "ses", "dev:agent-1", "dev:agent-1", 1), False),
    "sessions.taint": (lambda c, t: sessions.taint(c, t, "ses", "dev:agent-1", 1), False),
    "sessions.is_settled": (lambda c, t: sessions.is_settled(c, t, "ses", "dev:agent-1", 1), False),
    "sessions.assign": (lambda c, t: sessions.assign(c, t, "ses", "dev:agent-2", 1), False),
    "sessions.tainted_incident": (lambda c, t: sessions.tainted_incident(c, t, "inc"), False),
    "vault.key": (lambda c, t: vault.key(c, t, "ses"), None),
    "vault.shred": (lambda c, t: vault.shred(c, t, "ses"), None),
    "gather.gather": (
        lambda c, t: gather.gather(
            c,
            tenant=t,
            session_id="ses",
            acting="dev:agent-1",
            subject="dev:agent-1",
            connector="local",
            action_id="act",
            now_s=1,
        ),
        gather.Gathered(None, killed=False, usage={"actions_today": 0, "writes_today": 0}, proposal=None),
    ),
}
COUNTED: dict[str, tuple[Probe, Any]] = {
    "sessions.used": (lambda c, t: sessions.used(c, t, "ses"), {"actions": 0, "writes": 0, "tokens": 0}),
}


def plant(connection: Connection, tenant: str) -> None:
    """One row of every kind; ids are the same in every tenant."""
    approvals.add(connection, proposal_of(tenant, id="apr", action_id="act"))
    approvals.add_review(connection, tenant, "apr", answer_of("a" * 64))
    approvals.add(connection, proposal_of(tenant, id="apr-2", action_id="act-2"))
    assert approvals.move(connection, tenant, "apr-2", "approved", 1)
    kills.pull(connection, Kill(tenant, "agent", "dev:agent-1", "dev:ann", 1, ""))
    parties.note(connection, tenant, "dev:ann", ["oncall"], 1)
    asked = {"seq": 0, "at": 1, "who": "per_ann", "party": "human", "issuer": "idp", "roles": ("oncall",)}
    logusage.add(connection, tenant, [{**asked, "kind": "refusal", "action": "local.logs.search"}])
    logusage.name(connection, tenant, {"per_ann": "dev:ann"})
    leases.take(connection, tenant, ["k"], holder="h", now_s=1, until=9)
    opened = Session("ses", tenant, "gate", "dev:agent-1", (), 1, 9, incident="inc", tainted=True, named=True)
    sessions.add(connection, opened)
    vault.put_key(connection, tenant, "ses", b"k")


def everything(connection: Connection, tenant: str) -> list[Any]:
    """All that the tenant can see of its own rows."""
    who = {"acting": "dev:agent-1", "subject": "dev:agent-1"}
    now = {"session_id": "ses", **who, "connector": "local", "action_id": "act", "now_s": 1}
    return [
        gather.gather(connection, tenant=tenant, **now),
        approvals.find(connection, tenant, "apr"),
        approvals.find(connection, tenant, "apr-2"),
        kills.pulled(connection, tenant),
        leases.holds(connection, tenant, "h", {"k": 1}, 1),
        vault.key(connection, tenant, "ses"),
    ]


def test_every_query_that_takes_a_tenant_is_probed_here() -> None:
    names = {
        f"{module.__name__.rsplit('.', 1)[1]}.{name}"
        for module in MODULES
        for name, query in inspect.getmembers(module, inspect.isfunction)
        if query.__module__ == module.__name__
        and not name.startswith("_")
        and "tenant" in inspect.signature(query).parameters
    }
    assert names == set(PROBES) | set(COUNTED) | WRITES_OWN_ROW


@pytest.mark.parametrize("name", PROBES)
def test_a_foreign_tenants_rows_are_absent_and_untouched(store: Store, name: str) -> None:
    probe, absent = PROBES[name]
    owner, stranger = fresh_tenant(), fresh_tenant()

    async def main() -> None:
        await store.write(lambda c: plant(c, owner), durable=False)
        before = await store.read(lambda c: everything(c, owner))
        assert probe is not PROBES["gather.gather"][0] or before[0].session is not None
        assert await store.write(lambda c: probe(c, stranger), durable=False) == absent
        assert await store.read(lambda c: everything(c, owner)) == before

    if name == "gather.gather":  # reads both files
        asyncio.run(store.write(lambda c: plant(c, owner)))
        assert asyncio.run(store.read(lambda c: probe(c, stranger))) == absent
        assert asyncio.run(store.read(lambda c: probe(c, owner))) != absent
    else:
        asyncio.run(main())


def test_the_same_probes_find_the_owners_rows(store: Store) -> None:
    """Otherwise the test above could not fail."""
    for name in set(PROBES) - {"gather.gather", "leases.release", "sessions.end", "vault.shred"}:
        owner = fresh_tenant()
        asyncio.run(store.write(lambda c, t=owner: plant(c, t), durable=False))
        probe, absent = PROBES[name]
        assert asyncio.run(store.write(lambda c, p=probe, t=owner: p(c, t), durable=False)) != absent, name


def test_counters_are_the_tenants_own(store: Store) -> None:
    owner, stranger = fresh_tenant(), fresh_tenant()

    async def main() -> None:
        assert await store.count(lambda c: sessions.spend(c, owner, "ses", {"actions": 1}, {"actions": 1})) == ""
        assert await store.count(lambda c: sessions.spend(c, owner, "ses", {"actions": 1}, {"actions": 1})) == "actions"
        probe, absent = COUNTED["sessions.used"]
        assert await store.read(lambda c: probe(c, stranger)) == absent
        assert await store.count(lambda c: sessions.spend(c, stranger, "ses", {"actions": 1}, {"actions": 1})) == ""
        await store.count(lambda c: counters.bump(c, owner, "dev:agent-1", 1, write=True))
        who = {"acting": "dev:agent-1", "subject": ""}
        now = {"session_id": "", **who, "connector": "", "action_id": "", "now_s": 1}
        seen = [await store.read(lambda c, t=t: gather.gather(c, tenant=t, **now).usage) for t in (owner, stranger)]
        assert seen == [{"actions_today": 1, "writes_today": 1}, {"actions_today": 0, "writes_today": 0}]

    asyncio.run(main())


def test_one_tenants_lease_or_vault_key_does_not_block_anothers(store: Store) -> None:
    owner, stranger = fresh_tenant(), fresh_tenant()

    def both(connection: Connection) -> None:
        for tenant in (owner, stranger):
            assert leases.take(connection, tenant, ["k"], holder=tenant, now_s=1, until=9) == ({"k": 1}, False)
            assert vault.put_key(connection, tenant, "s", tenant.encode()) == tenant.encode()

    asyncio.run(store.write(both))
