"""The same life of activations in a database, with two replicas that share nothing else."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.clock import SeededClock
from broker.errors import BadRequest, Conflict, NotFound
from broker.policy.keys import SigningKey
from broker.policy.pdp import PolicyDecisionPoint, rollback_offline
from broker.policy.regorus import Bounds, RegorusHost
from broker.policy.shared import ActivationTable
from broker.store.engine import Store
from tests.parts import fresh_database
from tests.stores import PATIENT


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'gate.db'}"
    return fresh_database().replace("postgresql://", "postgresql+psycopg://")


@pytest.fixture
def stores(url: str) -> Iterator[tuple[Store, Store]]:
    one, two = (Store(url, timeouts=PATIENT) for _ in range(2))
    one.migrate()
    yield one, two
    one.close()
    two.close()


def test_replicas_follow_each_other_through_the_database(  # noqa: PLR0917
    run: Any, stores: tuple[Store, Store], build: Any, ask: Any, key: SigningKey, clock: SeededClock
) -> None:
    def replica(store: Store) -> PolicyDecisionPoint:
        host = RegorusHost(Bounds(workers=1, wall_seconds=30.0))
        return PolicyDecisionPoint(signers={key.id: key.public}, rows=ActivationTable(store), host=host, clock=clock)

    async def main() -> None:
        one, two = replica(stores[0]), replica(stores[1])
        first, second = build("1"), build("2-b")
        await one.start()
        for bundle in (first, second):
            await one.activate(bundle.archive, bundle.signature, by="dev:anna")
            assert await two.poll()
            assert not await two.poll()
            assert (await two.decide(ask("oncall"))).policy_digest == bundle.digest
        rows = ActivationTable(stores[1])
        assert await rows.bundle(first.digest) == (first.archive, first.signature)
        done = await rollback_offline(rows, first.digest, {key.id: key.public}, clock, by="host:root")
        assert await one.poll()
        assert (await one.decide(ask("oncall"))).policy_revision == "1"
        assert [(each.seq, each.kind, each.revision, each.by) for each in await rows.history()] == [
            (1, "activate", "1", "dev:anna"),
            (2, "activate", "2-b", "dev:anna"),
            (3, "rollback", "1", "host:root"),
        ]
        with pytest.raises(Conflict):
            await rows.append(done)
        with pytest.raises(Conflict):
            await rows.append(replace(done, seq=7))
        with pytest.raises(NotFound):
            await rows.bundle("0" * 64)
        with pytest.raises(BadRequest):
            await one.rollback("0" * 64, by="x")
        await one.aclose()
        await two.aclose()

    run(main())
