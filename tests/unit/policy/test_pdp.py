"""The decision point's life on the embedded engine: load gate, swap, history, rollback, replicas."""

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.clock import SeededClock
from broker.errors import BadRequest, Conflict, NotFound, PolicyUnavailable
from broker.policy.activations import KEEP, ActivationFiles
from broker.policy.bundle import build_bundle
from broker.policy.keys import SigningKey
from broker.policy.pdp import PolicyDecisionPoint, rollback_offline
from broker.policy.regorus import Bounds, RegorusHost


@pytest.fixture
def rows(tmp_path: Path) -> Any:
    return ActivationFiles(tmp_path / "state")


@pytest.fixture
def make(rows: ActivationFiles, key: SigningKey, clock: SeededClock) -> Any:
    def pdp(signers: Any = None) -> Any:
        known = {key.id: key.public} if signers is None else signers
        return PolicyDecisionPoint(
            signers=known, rows=rows, host=RegorusHost(Bounds(workers=1, wall_seconds=30.0)), clock=clock
        )

    return pdp


async def code_of(awaitable: Any) -> str:
    with pytest.raises((BadRequest, Conflict, NotFound, PolicyUnavailable)) as caught:
        await awaitable
    return caught.value.error_code


def edit(folder: Path, name: str, old: str, new: str) -> None:
    path = folder / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_without_a_bundle_everything_is_denied(run: Any, make: Any, ask: Any) -> None:
    async def main() -> None:
        pdp = make()
        await pdp.start()
        assert await code_of(pdp.decide(ask("oncall"))) == "policy.not_loaded"
        assert await code_of(pdp.simulate(ask("oncall"))) == "policy.not_loaded"
        assert (pdp.active, pdp.engine_label, pdp.catalog.actions()) == (None, "", ())
        assert pdp.problem
        await pdp.aclose()

    run(main())


def test_an_activated_bundle_decides_and_says_where_the_answer_comes_from(
    run: Any, make: Any, build: Any, ask: Any, clock: SeededClock
) -> None:
    async def main() -> None:
        pdp, bundle = make(), build("7-abc")
        done = await pdp.activate(bundle.archive, bundle.signature, by="dev:anna")
        assert (done.seq, done.kind, done.by, done.at_ns) == (1, "activate", "dev:anna", clock.now_ns())
        permit, deny = await pdp.decide(ask("oncall")), await pdp.decide(ask("nobody"))
        assert (permit.effect, deny.effect) == ("permit", "deny")
        assert (permit.policy_revision, permit.policy_digest) == ("7-abc", bundle.digest)
        assert permit.engine == pdp.engine_label
        assert permit.input_digest != deny.input_digest
        assert deny.reasons[0].remedy == "ask the owner of the policy"
        assert [action.name for action in pdp.catalog.actions()] == ["shop.orders.read"]
        await pdp.aclose()

    run(main())


def test_the_same_bundle_again_changes_nothing(run: Any, make: Any, build: Any, rows: ActivationFiles) -> None:
    async def main() -> None:
        pdp, bundle = make(), build("1")
        first = await pdp.activate(bundle.archive, bundle.signature, by="dev:anna")
        assert await pdp.activate(bundle.archive, bundle.signature, by="dev:ben") == first
        assert len(await rows.history()) == 1
        await pdp.aclose()

    run(main())


def test_an_older_or_equal_revision_is_refused_even_after_a_rollback(run: Any, make: Any, build: Any) -> None:
    async def main() -> None:
        pdp = make()
        nine, ten, eleven = build("9"), build("10"), build("11")
        await pdp.activate(nine.archive, nine.signature, by="dev:anna")
        await pdp.activate(eleven.archive, eleven.signature, by="dev:anna")
        assert await code_of(pdp.activate(ten.archive, ten.signature, by="x")) == "policy.revision_not_newer"
        other = build("11-b")
        assert await code_of(pdp.activate(other.archive, other.signature, by="x")) == "policy.revision_not_newer"
        await pdp.rollback(nine.digest, by="dev:anna")
        assert await code_of(pdp.activate(ten.archive, ten.signature, by="x")) == "policy.revision_not_newer"
        assert pdp.active
        assert pdp.active.digest == nine.digest
        await pdp.aclose()

    run(main())


def test_a_rollback_goes_only_to_what_was_active_before(run: Any, make: Any, build: Any, rows: ActivationFiles) -> None:
    async def main() -> None:
        pdp = make()
        first, second, never = build("1"), build("2"), build("3")
        for bundle in (first, second):
            await pdp.activate(bundle.archive, bundle.signature, by="dev:anna")
        await rows.keep_bundle(never.digest, never.archive, never.signature)
        assert await code_of(pdp.rollback(never.digest, by="dev:anna")) == "policy.never_active"
        done = await pdp.rollback(first.digest, by="dev:ben")
        assert (done.kind, done.seq, done.revision) == ("rollback", 3, "1")
        assert pdp.active.revision == "1"
        await pdp.aclose()

    run(main())


def test_a_kept_bundle_that_was_changed_on_disk_is_not_rolled_back_to(
    run: Any, make: Any, build: Any, tmp_path: Path
) -> None:
    async def main() -> None:
        pdp = make()
        first, second = build("1"), build("2")
        for bundle in (first, second):
            await pdp.activate(bundle.archive, bundle.signature, by="dev:anna")
        path = tmp_path / "state" / f"{first.digest}.tar.gz"
        path.write_bytes(path.read_bytes() + b"x")
        assert await code_of(pdp.rollback(first.digest, by="x")) == "policy.untrusted"
        # A validly signed bundle under another's name is not what was active either.
        path.write_bytes(second.archive)
        path.with_name(f"{first.digest}.sig").write_text(second.signature)
        assert await code_of(pdp.rollback(first.digest, by="x")) == "policy.untrusted"
        await pdp.aclose()

    run(main())


@pytest.mark.parametrize(
    ("name", "old", "new", "code", "fault"),
    [
        ("broker/main/main.rego", 'action.effect == "read"', 'action.effect == "write"', "policy.golden", "effect is"),
        ("golden/main.yaml", "tier: 0", "tier: 1", "policy.golden", "tier is 0, expected 1"),
        ("golden/main.yaml", "bytes: 65536", "bytes: 1", "policy.golden", "obligation cap"),
        ("golden/main.yaml", "lease: null", "cap: null", "policy.bad_yaml", "stands twice"),
        ("golden/main.yaml", "base: read\n  set", "base: absent\n  set", "policy.bad_bundle", "known `base`"),
        ("golden/bases.yaml", "now_s: 1767225600", "now_s: soon", "policy.golden", "policy.bad_input"),
        ("broker/main/main.rego", "count(granted) > 0", "not count(input.x) > 0", "policy.lint", "main.rego:27"),
        ("broker/main/main.rego", '"scope": "actor"', '"scope": "planet"', "policy.golden", "limits.scope"),
        ("broker/main/main.rego", '"cap":', '"cape":', "policy.golden", "obligation `cape` is unknown"),
        ("config/roles/data.yaml", "actions: [shop.orders.count]", "acts: []", "policy.lint", "roles"),
        ("schemas/input.v1.schema.json", '"properties"', '"dependencies"', "policy.bad_schema", "dependencies"),
        ("manifests/shop.yaml", "connector: shop", "name: shop", "policy.lint", "manifest"),
    ],
)
def test_the_load_gate_refuses_and_the_last_good_bundle_goes_on(  # noqa: PLR0917 - generated cases
    run: Any, make: Any, build: Any, folder: Path, ask: Any, name: str, old: str, new: str, code: str, fault: str) -> None:  # fmt: skip
    async def main() -> None:
        pdp, good = make(), build("1")
        await pdp.activate(good.archive, good.signature, by="dev:anna")
        edit(folder, name, old, new)

        async def build_and_activate() -> None:
            bad = build("2")
            await pdp.activate(bad.archive, bad.signature, by="dev:anna")

        with pytest.raises(BadRequest) as caught:
            await build_and_activate()
        assert caught.value.error_code == code
        assert fault in caught.value.detail
        decision = await pdp.decide(ask("oncall"))
        assert (decision.effect, decision.policy_revision) == ("permit", "1")
        await pdp.aclose()

    run(main())


def test_a_bundle_without_goldens_is_refused(run: Any, make: Any, build: Any, folder: Path) -> None:
    async def main() -> None:
        shutil.rmtree(folder / "golden")
        pdp, bundle = make(), build("1")
        assert await code_of(pdp.activate(bundle.archive, bundle.signature, by="x")) == "policy.golden"
        await pdp.aclose()

    run(main())


def test_what_began_on_the_old_bundle_ends_on_it(run: Any, make: Any, build: Any, ask: Any) -> None:
    async def main() -> None:
        pdp, first, second = make(), build("1"), build("2")
        await pdp.activate(first.archive, first.signature, by="dev:anna")
        asked = [asyncio.ensure_future(pdp.decide(ask("oncall"))) for _ in range(200)]
        await asyncio.sleep(0)
        await pdp.activate(second.archive, second.signature, by="dev:anna")
        revisions = [decision.policy_revision for decision in await asyncio.gather(*asked)]
        assert revisions == ["1"] * 200
        assert (await pdp.decide(ask("oncall"))).policy_revision == "2"
        await pdp.aclose()

    run(main())


def test_a_restart_loads_the_last_activation(run: Any, make: Any, build: Any, ask: Any) -> None:
    async def main() -> None:
        before, bundle = make(), build("1")
        await before.activate(bundle.archive, bundle.signature, by="dev:anna")
        await before.aclose()
        after = make()
        await after.start()
        assert (await after.decide(ask("oncall"))).policy_digest == bundle.digest
        await after.aclose()

    run(main())


def test_a_restart_does_not_trust_a_bundle_whose_signer_is_gone(run: Any, make: Any, build: Any, ask: Any) -> None:
    async def main() -> None:
        before, bundle = make(), build("1")
        await before.activate(bundle.archive, bundle.signature, by="dev:anna")
        await before.aclose()
        after = make({"other": Ed25519PrivateKey.generate().public_key()})
        await after.start()
        assert await code_of(after.decide(ask("oncall"))) == "policy.not_loaded"
        assert "signer is not configured" in after.problem
        await after.aclose()

    run(main())


def test_a_restart_without_the_bundles_file_stays_not_loaded(
    run: Any, make: Any, build: Any, ask: Any, tmp_path: Path
) -> None:
    async def main() -> None:
        before, bundle = make(), build("1")
        await before.activate(bundle.archive, bundle.signature, by="dev:anna")
        await before.aclose()
        (tmp_path / "state" / f"{bundle.digest}.tar.gz").unlink()
        after = make()
        await after.start()
        assert await code_of(after.decide(ask("oncall"))) == "policy.not_loaded"
        await after.aclose()

    run(main())


def test_another_replica_follows_the_shared_history(run: Any, make: Any, build: Any, ask: Any) -> None:
    async def main() -> None:
        one, two = make(), make()
        for revision in ("1", "2"):
            bundle = build(revision)
            await one.activate(bundle.archive, bundle.signature, by="dev:anna")
            assert await two.poll()
            assert not await two.poll()
            assert (await two.decide(ask("oncall"))).policy_revision == revision
        await one.aclose()
        await two.aclose()

    run(main())


def test_a_replica_that_cannot_follow_keeps_the_last_good_bundle_and_says_why(
    run: Any, make: Any, build: Any, ask: Any, tmp_path: Path
) -> None:
    async def main() -> None:
        one, two = make(), make()
        first, second = build("1"), build("2")
        await one.activate(first.archive, first.signature, by="dev:anna")
        await two.poll()
        await one.activate(second.archive, second.signature, by="dev:anna")
        (tmp_path / "state" / f"{second.digest}.sig").write_text("team AAAA")
        assert not await two.poll()
        assert "does not verify" in two.problem
        assert (await two.decide(ask("oncall"))).policy_revision == "1"
        (tmp_path / "state" / f"{second.digest}.sig").write_text(second.signature)
        assert await two.poll()
        assert two.problem == ""
        await one.aclose()
        await two.aclose()

    run(main())


def test_two_replicas_cannot_activate_past_each_other(run: Any, make: Any, build: Any, rows: ActivationFiles) -> None:
    async def main() -> None:
        one, first = make(), build("1")
        done = await one.activate(first.archive, first.signature, by="dev:anna")
        assert await code_of(rows.append(done)) == "policy.activation_conflict"
        await one.aclose()

    run(main())


def test_a_lockout_is_undone_on_the_host(  # noqa: PLR0917
    run: Any, make: Any, build: Any, folder: Path, ask: Any, rows: ActivationFiles, key: SigningKey, clock: SeededClock
) -> None:
    async def main() -> None:
        pdp, good = make(), build("1")
        await pdp.activate(good.archive, good.signature, by="dev:anna")
        edit(folder, "config/roles/data.yaml", "oncall: {actions: [shop.orders.read, shop.orders.count]}\n", "")
        edit(folder, "golden/main.yaml", "{effect: permit, tier: 0, reasons: [role.granted], obligations: {cap: {bytes: 65536}, lease: null}}", "{effect: deny}")  # fmt: skip
        locking = build("2")
        await pdp.activate(locking.archive, locking.signature, by="dev:anna")
        assert (await pdp.decide(ask("oncall"))).effect == "deny"
        signers = {key.id: key.public}
        never = build("3").digest
        assert await code_of(rollback_offline(rows, never, signers, clock, by="host")) == "policy.never_active"
        done = await rollback_offline(rows, good.digest, signers, clock, by="host:root")
        assert (done.kind, done.by, done.revision) == ("offline", "host:root", "1")
        assert await pdp.poll()
        assert (await pdp.decide(ask("oncall"))).effect == "permit"
        await pdp.aclose()

    run(main())


def test_the_newest_bundles_are_kept_and_older_ones_deleted(run: Any, make: Any, build: Any, tmp_path: Path) -> None:
    async def main() -> None:
        pdp = make()
        bundles = [build(str(number)) for number in range(1, KEEP + 3)]
        for bundle in bundles:
            await pdp.activate(bundle.archive, bundle.signature, by="dev:anna")
        kept = {path.name.partition(".")[0] for path in (tmp_path / "state").glob("*.tar.gz")}
        assert kept == {bundle.digest for bundle in bundles[-KEEP:]}
        assert (tmp_path / "state" / "active").read_text().strip() == bundles[-1].digest
        assert await code_of(pdp.rollback(bundles[0].digest, by="x")) == "policy.unknown_digest"
        await pdp.aclose()

    run(main())


def test_a_history_line_cut_off_by_a_crash_was_never_active(
    run: Any, make: Any, build: Any, rows: ActivationFiles, tmp_path: Path
) -> None:
    async def main() -> None:
        pdp, first, second = make(), build("1"), build("2")
        await pdp.activate(first.archive, first.signature, by="dev:anna")
        with (tmp_path / "state" / "history.jsonl").open("a") as file:
            file.write('{"seq": 2, "dig')
        assert [each.revision for each in await rows.history()] == ["1"]
        await pdp.activate(second.archive, second.signature, by="dev:anna")
        assert [each.revision for each in await rows.history()] == ["1", "2"]
        await pdp.aclose()

    run(main())


def test_a_bundle_of_another_team_is_not_activated(run: Any, make: Any, folder: Path, ask: Any) -> None:
    async def main() -> None:
        pdp = make()
        stranger = build_bundle(folder, SigningKey("team", Ed25519PrivateKey.generate()), "1")
        assert await code_of(pdp.activate(stranger.archive, stranger.signature, by="x")) == "policy.untrusted"
        assert await code_of(pdp.decide(ask("oncall"))) == "policy.not_loaded"
        await pdp.aclose()

    run(main())


def test_a_wrong_input_is_a_fault_of_the_gate_and_names_the_field(run: Any, make: Any, build: Any, ask: Any) -> None:
    async def main() -> None:
        pdp, bundle = make(), build("1")
        await pdp.activate(bundle.archive, bundle.signature, by="dev:anna")
        wrong = ask("oncall")
        wrong["subject"]["roles"] = ["oncall", 4111111111111111]
        with pytest.raises(PolicyUnavailable) as caught:
            await pdp.decide(wrong)
        assert caught.value.error_code == "policy.bad_input"
        assert ".subject.roles[1]" in caught.value.detail
        assert "4111" not in caught.value.detail
        for path, value in ((("action", "properties"), {"arguments": {"a": 0.5}}), (("context", "now_s"), 2**70)):
            wrong = ask("oncall")
            wrong[path[0]][path[1]] = value
            assert await code_of(pdp.decide(wrong)) == "policy.bad_input"
        await pdp.aclose()

    run(main())


NOW = '"now_s": {"type": "integer"}'


@pytest.mark.parametrize("told", [False, True])
def test_a_bundle_is_not_told_facts_that_came_after_it_and_a_newer_one_decides_on_all_of_its_own(
    run: Any, make: Any, build: Any, ask: Any, folder: Path, *, told: bool
) -> None:
    async def main() -> None:
        pdp, first = make(), build("1")
        await pdp.activate(first.archive, first.signature, by="dev:anna")
        asked = ask("oncall")
        asked["context"]["turn"] = {"relayed": False}
        assert (await pdp.decide(asked)).effect == "permit"
        simulated = await pdp.simulate(asked)
        assert (simulated.decision.effect, "input.context.turn" in simulated.facts) == ("permit", False)
        assert await code_of(pdp.simulate({**asked, "context": {"turn": {}}})) == "policy.bad_input"
        assert await code_of(pdp.simulate({**asked, "context": None})) == "policy.bad_input"
        older = pdp._active
        if told:
            edit(folder, "schemas/input.v1.schema.json", NOW, f'{NOW}, "turn": {{"type": "object"}}')
        second = build("2")
        await pdp.activate(second.archive, second.signature, by="dev:anna")
        # As where an engine that replicas share has loaded the newer one already.
        pdp._active, pdp._incoming = replace(older, engine=pdp._active.engine), second
        if told:
            assert await code_of(pdp.decide(asked)) == "policy.wrong_revision"
        else:
            assert (await pdp.decide(asked)).policy_revision == "2"
        await pdp.aclose()

    run(main())


def test_a_simulation_says_which_rules_held_and_leaves_the_active_bundle_alone(
    run: Any, make: Any, build: Any, folder: Path, ask: Any
) -> None:
    async def main() -> None:
        pdp, active = make(), build("1")
        await pdp.activate(active.archive, active.signature, by="dev:anna")
        edit(folder, "broker/main/main.rego", "granted contains role if {", "# METADATA\n# title: Roles with the action\ngranted contains role if {")  # fmt: skip
        found = await pdp.simulate(ask("oncall"), build("2"))
        assert (found.decision.effect, found.decision.policy_revision) == ("permit", "2")
        held = {each.rule: each for each in found.held}
        assert held["data.broker.main.granted"].value == ["oncall"]
        assert held["data.broker.main.granted"].title == "Roles with the action"
        assert held["data.broker.main.granted"].file == "broker/main/main.rego"
        refused = await pdp.simulate(ask("nobody"))
        assert refused.decision.effect == "deny"
        assert "data.broker.main.granted" not in {each.rule for each in refused.held}
        assert pdp.active
        assert pdp.active.revision == "1"
        await pdp.aclose()

    run(main())
