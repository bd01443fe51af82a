"""Migrations make exactly the declared tables, once, and the database itself holds the rules that no row may break."""

import asyncio
import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Insert, create_engine, insert, select, text, update

from broker.errors import Conflict, StoreUnavailable
from broker.store import Connection, Store, activations, approvals, leases, migrate
from broker.store.approvals import Proposal
from broker.store.tables import COUNTER_TABLES, STATES, TRANSITIONS, metadata, policy_activation, proposal, review
from tests.stores import KINDS, PATIENT, fresh_tenant, fresh_url, open_store
from tests.unit.store.drafts import answer_of, proposal_of


def test_the_migrated_database_has_exactly_the_declared_tables(store: Store) -> None:
    def differences(connection: Connection, names: set[str]) -> list[object]:
        def ours(_item: object, name: str | None, kind: str, _reflected: object, _other: object) -> bool:
            return kind != "table" or name in names

        context = MigrationContext.configure(connection, opts={"include_object": ours})
        return list(compare_metadata(context, metadata))

    everything = set(metadata.tables)
    if store.dialect == "sqlite":
        counters = set(COUNTER_TABLES)
        assert asyncio.run(store.write(lambda c: differences(c, everything - counters))) == []
        assert asyncio.run(store.count(lambda c: differences(c, counters))) == []
    else:
        assert asyncio.run(store.write(lambda c: differences(c, everything))) == []


def test_every_table_but_the_policys_own_has_a_tenant_in_its_key() -> None:
    keyless = {name for name, table in metadata.tables.items() if "tenant" not in table.primary_key.columns}
    assert keyless == {"policy_bundle", "policy_activation"}


def test_migrating_again_changes_nothing_and_the_store_is_ready(store: Store) -> None:
    store.migrate()
    assert asyncio.run(store.ready())


@pytest.mark.parametrize("kind", KINDS)
def test_replicas_that_start_together_migrate_once(kind: str, tmp_path: Path) -> None:
    url = fresh_url(kind, tmp_path)
    stores = [Store(url, timeouts=PATIENT) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(Store.migrate, stores))
    assert all(asyncio.run(store.ready()) for store in stores)
    for store in stores:
        store.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_database_of_a_newer_release_stops_the_start(kind: str, tmp_path: Path) -> None:
    store = open_store(kind, tmp_path)
    asyncio.run(store.write(lambda c: c.execute(text("UPDATE alembic_version SET version_num = '9999'"))))
    assert not asyncio.run(store.ready())
    with pytest.raises(StoreUnavailable) as refused:
        store.migrate()
    assert refused.value.error_code == "store.newer"
    store.close()


def test_an_empty_database_is_not_ready(tmp_path: Path) -> None:
    store = Store(fresh_url("sqlite", tmp_path))
    assert not asyncio.run(store.ready())
    store.close()


ROUTES = {
    "waiting": (),
    "approved": ("approved",),
    "denied": ("denied",),
    "expired": ("expired",),
    "cancelled": ("cancelled",),
    "executing": ("approved", "executing"),
    "done": ("approved", "executing", "done"),
    "failed": ("approved", "executing", "failed"),
    "unknown": ("approved", "executing", "unknown"),
}


@pytest.mark.parametrize(("old", "new"), [pair for pair in itertools.product(STATES, STATES) if pair[0] != pair[1]])
def test_the_database_allows_exactly_the_transitions_of_the_table(store: Store, old: str, new: str) -> None:
    draft = proposal_of(fresh_tenant())

    def force(state: str) -> None:
        asyncio.run(
            store.write(
                lambda c: c.execute(update(proposal).where(proposal.c.id == draft.id).values(state=state)),
                durable=False,
            )
        )

    asyncio.run(store.write(lambda c: approvals.add(c, draft), durable=False))
    for state in ROUTES[old]:
        force(state)
    if (old, new) in TRANSITIONS:
        force(new)
    else:
        with pytest.raises(Conflict):
            force(new)
    found = asyncio.run(store.read(lambda c: approvals.find(c, draft.tenant, draft.id)))
    assert found is not None
    assert found.state == (new if (old, new) in TRANSITIONS else old)


@pytest.mark.parametrize("state", [state for state in STATES if state != "waiting"])
def test_a_proposal_is_born_waiting(store: Store, state: str) -> None:
    def born(connection: Connection) -> None:
        approvals.add(connection, proposal_of(fresh_tenant(), state=state))

    with pytest.raises(Conflict):
        asyncio.run(store.write(born))


BOUND = {
    "action_id": "act_other",
    "request_digest": "0" * 64,
    "policy_digest": "0" * 64,
    "plan_fingerprint": "other",
    "rollback_digest": "other",
    "subject": "dev:other",
    "actor": "dev:other",
    "quorum": 9,
    "separation": "subject",
    "signature": True,
    "tier": 0,
    "expires_at": 2**40,
    "created_at": 1,
}


@pytest.mark.parametrize("column", BOUND)
def test_what_a_proposal_binds_cannot_change_in_the_database(store: Store, column: str) -> None:
    draft = proposal_of(fresh_tenant())
    asyncio.run(store.write(lambda c: approvals.add(c, draft)))
    changed = update(proposal).where(proposal.c.id == draft.id).values({column: BOUND[column]})
    with pytest.raises(Conflict):
        asyncio.run(store.write(lambda c: c.execute(changed)))


def test_the_digest_of_an_approved_proposal_cannot_change(store: Store) -> None:
    draft = proposal_of(fresh_tenant())

    def prepare(connection: Connection) -> None:
        approvals.add(connection, draft)
        assert approvals.move(connection, draft.tenant, draft.id, "approved", 1)

    asyncio.run(store.write(prepare))
    changed = update(proposal).where(proposal.c.id == draft.id).values(digest="0" * 64)
    with pytest.raises(Conflict):
        asyncio.run(store.write(lambda c: c.execute(changed)))


def test_a_review_is_never_rewritten(store: Store) -> None:
    draft = proposal_of(fresh_tenant())

    def prepare(connection: Connection) -> None:
        approvals.add(connection, draft)
        approvals.add_review(connection, draft.tenant, draft.id, answer_of(draft.digest))

    asyncio.run(store.write(prepare))
    changed = update(review).where(review.c.proposal == draft.id).values(acr="stronger")
    with pytest.raises(Conflict):
        asyncio.run(store.write(lambda c: c.execute(changed)))


def as_before(draft: Proposal) -> Insert:
    """An answer as the release before stored it: nothing says that the log does not have it."""
    said = answer_of(draft.digest)
    plain = {name: getattr(said, name) for name in ("reviewer", "kind", "acr", "verdict", "digest", "signature", "at")}
    told = {"roles": b'["oncall"]', "reason": b"", "same_actor": False, "same_subject": False}
    return insert(review).values(tenant=draft.tenant, proposal=draft.id, **plain, **told)


def test_a_review_is_not_stored_without_what_it_owes_to_the_log(store: Store) -> None:
    draft = proposal_of(fresh_tenant())
    asyncio.run(store.write(lambda c: approvals.add(c, draft)))
    with pytest.raises(Conflict):
        asyncio.run(store.write(lambda c: c.execute(as_before(draft))))
    asyncio.run(store.write(lambda c: approvals.add_review(c, draft.tenant, draft.id, answer_of(draft.digest))))


@pytest.mark.parametrize("kind", KINDS)
def test_what_waits_with_answers_of_the_release_before_is_withdrawn_and_nothing_else(kind: str, tmp_path: Path) -> None:
    store = Store(fresh_url(kind, tmp_path), timeouts=PATIENT)
    unanswered, waiting, approved, done = (proposal_of("default") for _ in range(4))
    ways = ((waiting, ()), (approved, ("approved",)), (done, ("approved", "executing", "done")))

    def before(connection: Connection) -> None:
        config = migrate._config()
        config.attributes.update(connection=connection, parts=("state",))
        command.upgrade(config, "0009")
        approvals.add(connection, unanswered)
        for one, states in ways:
            approvals.add(connection, one)
            connection.execute(as_before(one))
            for state in states:
                approvals.move(connection, one.tenant, one.id, state, 1_001)

    try:
        asyncio.run(store.write(before))
        store.migrate()
        kept = select(proposal.c.id, proposal.c.state)
        found = dict(asyncio.run(store.read(lambda c: [(row.id, row.state) for row in c.execute(kept)])))
        states = [found[one.id] for one in (unanswered, waiting, approved, done)]
        assert states == ["waiting", "cancelled", "cancelled", "done"]
    finally:
        store.close()


def test_an_answer_in_flight_while_the_database_migrates_is_seen_by_the_migration(tmp_path: Path) -> None:
    """A replica of the release before has stored an answer and not committed it; the migration waits for its end."""
    url = fresh_url("postgresql", tmp_path)
    store, other = Store(url, timeouts=PATIENT), create_engine(url)
    draft = proposal_of("default")

    def before(connection: Connection) -> None:
        config = migrate._config()
        config.attributes.update(connection=connection, parts=("state",))
        command.upgrade(config, "0009")
        approvals.add(connection, draft)

    try:
        asyncio.run(store.write(before))
        with other.connect() as answering, other.connect() as watching, ThreadPoolExecutor(1) as pool:
            answering.execute(select(proposal.c.id).where(proposal.c.id == draft.id).with_for_update())
            answering.execute(as_before(draft))
            migrated = pool.submit(store.migrate)
            waits = text(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            while not watching.execute(waits).scalar_one():
                assert not migrated.done(), migrated.result()
                watching.rollback()
            answering.commit()
            migrated.result()
        found = asyncio.run(store.read(lambda c: approvals.find(c, "default", draft.id)))
        assert found is not None
        assert found.state == "cancelled"
    finally:
        other.dispose()
        store.close()


def test_a_review_needs_its_proposal_in_the_same_tenant(store: Store) -> None:
    draft = proposal_of(fresh_tenant())
    asyncio.run(store.write(lambda c: approvals.add(c, draft)))
    with pytest.raises(Conflict):
        asyncio.run(store.write(lambda c: approvals.add_review(c, fresh_tenant(), draft.id, answer_of(draft.digest))))


def test_an_action_has_one_live_proposal(store: Store) -> None:
    draft = proposal_of(fresh_tenant())
    twin = proposal_of(draft.tenant, action_id=draft.action_id)
    asyncio.run(store.write(lambda c: approvals.add(c, draft)))
    with pytest.raises(Conflict):
        asyncio.run(store.write(lambda c: approvals.add(c, twin)))


def test_a_fence_never_goes_back(store: Store) -> None:
    tenant = fresh_tenant()
    asyncio.run(store.write(lambda c: leases.take(c, tenant, ["k"], holder="h", now_s=1, until=2)))
    with pytest.raises(Conflict):
        asyncio.run(store.write(lambda c: c.execute(text(f"UPDATE lease SET fence = 0 WHERE tenant = '{tenant}'"))))


def test_activations_are_neither_rewritten_nor_deleted(store: Store) -> None:
    def prepare(connection: Connection) -> None:
        activations.keep(connection, digest="d1", revision="r1", signer="k", bundle=b"b")
        activations.activate(connection, digest="d1", by="dev:ann", now_s=1, after=0)

    asyncio.run(store.write(prepare))
    for statement in (
        update(policy_activation).values(activated_by="dev:eve"),
        policy_activation.delete(),
        text("UPDATE policy_bundle SET signer = 'eve'"),
        insert(policy_activation).values(seq=0, digest="d1", activated_by="dev:eve", at=1),
    ):
        with pytest.raises(Conflict):
            asyncio.run(store.write(lambda c, s=statement: c.execute(s)))
