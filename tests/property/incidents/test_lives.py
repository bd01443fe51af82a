"""Whatever happens in whatever order, incidents and work agree: no second life, no lost alert, no stale effect."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from broker.errors import BrokerError, Conflict
from broker.incidents import AGENT_MAY, STATES, TRANSITIONS, WORK_OF, Incident
from broker.store import Store
from broker.store import incidents as rows
from broker.store.work import id_of_incident
from broker.work import GATE_KINDS, Claimed
from tests.shop import NEEDS, Shop, alert
from tests.stores import KINDS, open_store

WORKERS = ("dev:agent-1", "dev:agent-2", "dev:agent-3")
PEOPLE = ("dev:ann", "dev:bob")
ASKED = (*sorted(set().union(*AGENT_MAY.values())), "investigating", "diagnosed", "proposed", "closed", "executing")
FORWARD = {
    "triaging": ("investigating", "noise", "escalated"),
    "investigating": ("diagnosed", "inconclusive", "noise"),
    "diagnosed": ("proposed", "proposed", "escalated"),
}
HOLD_S = 60
services = st.sampled_from(sorted(NEEDS))


@pytest.fixture(scope="module", params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    opened = open_store(request.param, Path(tmp_path_factory.mktemp("lives")))
    yield opened
    opened.close()


class Lives(RuleBasedStateMachine):
    """Alerts, agents that die, people and the gate's own steps, in any order."""

    store: Store

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.shop = Shop(self.store, open_max=6)
        self.claims: dict[str, Claimed] = {}
        self.dead: list[Claimed] = []
        self.fences: dict[str, int] = {}

    def do(self, coroutine: Any) -> Any:
        """Run one request to its end."""
        return self.runner.run(coroutine)

    def teardown(self) -> None:
        self.runner.close()

    def all(self) -> list[Incident]:
        """Every incident of the tenant."""
        return list(self.do(self.shop.incidents.page(self.shop.tenant, limit=500)).items)

    @initialize(service=services)
    def begin(self, service: str) -> None:
        self.receive(service, 0, "high", status="firing")

    @rule(
        service=services,
        number=st.integers(0, 1),
        severity=st.sampled_from(["info", "warning", "high", "critical"]),
        status=st.sampled_from(["firing", "firing", "resolved"]),
    )
    def receive(self, service: str, number: int, severity: str, status: str) -> None:
        sent = alert(service, fingerprint=f"{service}-{number}", severity=severity, status=status)
        try:
            self.do(self.shop.incidents.receive(self.shop.tenant, sent, by="dev:am"))
        except BrokerError as error:
            assert error.error_code == "incident.flood"  # noqa: PT017 - either outcome is right

    @rule(worker=st.sampled_from(WORKERS), recorded=st.sampled_from([True, True, False]))
    def claim(self, worker: str, recorded: bool) -> None:
        if recorded:
            self.record()
        claimed = self.do(self.shop.work.claim(self.shop.tenant, ["incident"], worker, HOLD_S))
        if claimed is None:
            return
        assert claimed.fence > self.fences.get(claimed.id, 0)
        self.fences[claimed.id] = claimed.fence
        if worker in self.claims:
            self.dead.append(self.claims[worker])
        self.claims[worker] = claimed

    @rule(worker=st.sampled_from(WORKERS), to=st.sampled_from(ASKED))
    def finish(self, worker: str, to: str) -> None:
        claimed = self.claims.pop(worker, None)
        if claimed is None:
            return
        before = self.do(self.shop.incidents.get(self.shop.tenant, claimed.incident))
        body: dict[str, Any] = {"action_id": "act_1"}
        if to == "diagnosed":
            body["diagnosis"] = self.do(self.shop.diagnosed(before))
        try:
            after = self.do(self.shop.finish(claimed, to, **body))
        except BrokerError:
            assert self.do(self.shop.incidents.get(self.shop.tenant, claimed.incident)) == before
            self.dead.append(claimed)
            return
        assert to in AGENT_MAY[before.state]
        assert self.fences[claimed.id] == claimed.fence
        assert after.version > before.version
        self.dead.append(claimed)

    @rule(
        service=services,
        worker=st.sampled_from(WORKERS),
        picks=st.lists(st.integers(0, 29), min_size=6, max_size=12),
    )
    def work_on(self, service: str, worker: str, picks: list[int]) -> None:
        """An alert, and a worker that does one thing after the other, with the gate beside it."""
        self.receive(service, 0, "high", "firing")
        for pick in picks:
            self.claim(worker, recorded=True)
            if worker in self.claims:
                stands = self.do(self.shop.incidents.get(self.shop.tenant, self.claims[worker].incident))
                self.finish(worker, FORWARD[stands.state][max(0, pick - 20) % 3])
            elif not self.gates_turn(gives_up=False, pick=pick):
                break
            self.gates_turn(gives_up=False, pick=pick)

    @rule(worker=st.sampled_from(WORKERS))
    def kill(self, worker: str) -> None:
        """A worker dies and leaves its claim; the time of the hold passes."""
        if worker in self.claims:
            self.dead.append(self.claims.pop(worker))
            self.shop.clock.advance(HOLD_S)
            self.dead += self.claims.values()
            self.claims.clear()

    @rule(worker=st.sampled_from(WORKERS))
    def renew(self, worker: str) -> None:
        claimed = self.claims.get(worker)
        if claimed is None:
            return
        try:
            self.claims[worker] = self.do(
                self.shop.work.renew(self.shop.tenant, claimed.id, holder=worker, fence=claimed.fence, hold_s=HOLD_S)
            )
        except Conflict as error:
            assert error.error_code == "work.stale"  # noqa: PT017
            self.dead.append(self.claims.pop(worker))

    @rule(seconds=st.sampled_from([1, 30, 300, 3_700]))
    def wait(self, seconds: int) -> None:
        self.shop.clock.advance(seconds)

    @rule()
    def record(self) -> None:
        self.do(self.shop.record())

    @rule(
        kind=st.sampled_from(["note", "take_over", "hand_back", "correct"]), by=st.sampled_from(PEOPLE), data=st.data()
    )
    def person(self, kind: str, by: str, data: st.DataObject) -> None:
        known = self.all()
        if not known:
            return
        about = data.draw(st.sampled_from(known))
        to = data.draw(st.sampled_from(["triaging", "investigating", "escalated", "learning"]))
        try:
            self.do(self.shop.incidents.note(self.shop.tenant, about.id, kind=kind, by=by, body={"to": to}))
        except BrokerError:
            assert self.do(self.shop.incidents.get(self.shop.tenant, about.id)) == about

    @rule(gives_up=st.booleans(), pick=st.integers(0, 29))
    def gate(self, gives_up: bool, pick: int) -> None:
        self.gates_turn(gives_up, pick)

    def gates_turn(self, gives_up: bool, pick: int) -> bool:
        """The gate claims work of its own and does it, or dies at it; False where nothing was due."""
        self.record()
        claimed = self.do(self.shop.work.claim(self.shop.tenant, GATE_KINDS, "gate", HOLD_S))
        if claimed is None:
            return False
        self.dead.append(claimed)
        if gives_up:
            return True
        if claimed.kind == "notify":
            self.do(self.shop.work.done(claimed))
        elif claimed.kind == "baseline":
            self.do(self.shop.work.pass_on(claimed))
        elif claimed.kind == "learn":
            assert self.do(self.shop.incidents.learn(claimed)).state == "closed"
        else:
            stands = self.do(self.shop.incidents.get(self.shop.tenant, claimed.incident))
            away = {"human_hold"} if pick > 25 else {"human_hold", "escalated"}
            ways = sorted(new for old, new in TRANSITIONS if old == stands.state and new not in away) or ["escalated"]
            self.do(
                self.shop.incidents.advance(
                    self.shop.tenant, stands.id, to=ways[pick % len(ways)], by="gate", claimed=claimed
                )
            )
        return True

    @rule(data=st.data())
    def zombie(self, data: st.DataObject) -> None:
        """One that died comes back with an old fence: whatever it wants does not happen."""
        ghosts = [one for one in self.dead if one.kind == "incident" and self.gone(one)]
        if not ghosts:
            return
        ghost = data.draw(st.sampled_from(ghosts))
        before = self.do(self.shop.incidents.get(self.shop.tenant, ghost.incident))
        with pytest.raises(Conflict) as refused:
            self.do(self.shop.finish(ghost, data.draw(st.sampled_from(STATES)), action_id="act_1"))
        assert refused.value.error_code == "work.stale"
        assert self.do(self.shop.incidents.get(self.shop.tenant, ghost.incident)) == before

    def gone(self, ghost: Claimed) -> bool:
        """Overtaken by another claim, or out of time."""
        return self.fences.get(ghost.id, 0) > ghost.fence or self.shop.clock.now_ns() // 10**9 >= ghost.until

    @invariant()
    def history_is_whole_and_legal(self) -> None:
        known = self.all()
        told = self.do(self.shop.store.read(lambda c: [rows.events(c, self.shop.tenant, one.id) for one in known]))
        for one, events in zip(known, told, strict=True):
            assert [event.seq for event in events] == list(range(1, one.version + 1))
            state = "received"
            for event in events:
                assert event.from_state == state
                assert event.to_state == state or (state, event.to_state) in TRANSITIONS
                state = event.to_state
            assert state == one.state

    @invariant()
    def a_fingerprint_has_one_live_incident_and_no_firing_alert_is_lost(self) -> None:
        known = self.all()
        live = [one.fingerprint for one in known if one.live]
        assert len(set(live)) == len(live)
        by_id = {one.id: one for one in known}
        for one in known:
            if one.state == "linked" and one.until is None:
                root = by_id[one.merged_into]
                later = any(x.fingerprint == one.fingerprint and x.version and x.id != one.id for x in known)
                assert root.live or later
            assert one.state != "linked" or by_id[one.merged_into].state != "linked"

    @invariant()
    def work_follows_the_state(self) -> None:
        rows = self.do(self.shop.work.page(self.shop.tenant, states=("due", "idle", "aside"), most=1_000))
        own = {row.id: row for row in rows}
        for one in self.all():
            row = own.get(id_of_incident(one.id))
            if row is None:
                assert one.state == "linked"
                continue
            wanted = WORK_OF.get(one.state, "")
            kinds = {wanted, "incident"} if one.state == "diagnosed" else {wanted}
            if wanted:
                assert row.kind in kinds
                assert row.state in {"due", "aside"}
            else:
                assert row.state in {"idle", "aside"}


def test_incidents_and_work_agree_whatever_happens(store: Store) -> None:
    class OnThis(Lives):
        pass

    OnThis.store = store
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        OnThis,
        settings=settings(
            max_examples=12,
            stateful_step_count=15,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
