"""What policy and the gate go by is on record before it counts: where the log takes no record of it, nothing has changed."""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from audit.errors import LogUnavailable
from audit.signed import Signatures
from broker.reviews import UNRECORDED_SECONDS
from tests.e2e.test_bad_days_kill import RESTART, kill, resume
from tests.e2e.test_breakglass import ask, step
from tests.e2e.test_signed_approvals import asked, critical, gate_act, ready, registered, waiting
from tests.sim.authenticator import SoftwareKey
from tests.sim.world import World, world


@contextlib.contextmanager
def without(it: World, kind: str) -> Iterator[None]:
    """The log takes everything but records of one kind, as if the process died before them."""
    real = it.gate.log.append

    async def append(tenant: str, draft: Any, **more: Any) -> Any:
        if draft.kind == kind:
            raise LogUnavailable("cut off here")
        return await real(tenant, draft, **more)

    it.gate.log.append = append  # type: ignore[method-assign]
    try:
        yield
    finally:
        it.gate.log.append = real  # type: ignore[method-assign]


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json().get("code", "")


UNRECORDED = (503, "audit.unavailable")


def test_a_signed_approval_without_its_record_runs_nothing_and_runs_once_when_it_is_there(tmp_path: Path) -> None:
    async def main() -> None:
        async with critical(tmp_path) as it:
            key = SoftwareKey()
            await ready(it, "security", key)
            wants = await waiting(it)
            approval, security = wants["approval"], await it.person("security")
            options = await asked(it, security, approval)
            with without(it, "review"):
                done = await it.review(security, approval, assertion=key.get(options))
                assert code(done) == (503, "approval.unrecorded"), "it is kept, and nobody is told to answer again"
                assert "kept" in done.json()["detail"]
                await it.gate.background.sweep()
                stands = await it.gate.approvals.get("default", approval["id"])
                assert (stands.state, [one.counts for one in stands.reviews]) == ("waiting", [False])
                assert it.restarts("payments") == 0
                again = key.get(await asked(it, security, approval))
                assert code(await it.review(security, approval, assertion=again)) == (409, "approval.reviewed")
            await it.gate.background.sweep()
            requester = await it.person("oncall")
            assert (await it.outcome(requester, wants["action_id"])).json()["status"] == "done"
            assert it.restarts("payments") == 1
            kinds = [
                one["kind"] for one in await it.records() if one["body"].get("approval", {}).get("id") == approval["id"]
            ]
            assert kinds == ["proposal", "review", "intent"]
            [review] = [one for one in await it.records() if one["kind"] == "review"]
            assert review["body"]["signature"], "it is recorded with the signature that was given then"

    asyncio.run(main())


@pytest.mark.parametrize("swept", [False, True], ids=["at once", "after it was withdrawn"])
def test_a_request_that_could_not_be_recorded_is_taken_under_the_same_key(tmp_path: Path, swept: bool) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent, oncall = await it.agent(), await it.person("oncall")
            session, key = await it.session(agent), {"Idempotency-Key": "again-1"}
            with without(it, "proposal"):
                refused = await it.act(agent, RESTART, session, key=key)
                assert (code(refused), refused.headers["retry-after"]) == (UNRECORDED, "1")
                [one] = (await it.gate.approvals.page("default", ("waiting",))).items
                told = {"id": one.id, "digest": one.digest}
                assert code(await it.review(oncall, told)) == (503, "audit.no_proposal"), "it asks nobody"
                if swept:
                    it.clock.advance(UNRECORDED_SECONDS)
                    await it.gate.background.sweep()
                    assert (await it.gate.approvals.get("default", one.id)).state == "cancelled"
                    agent, oncall = await it.agent(), await it.person("oncall")
                other = await it.act(agent, RESTART, session, key=key, id_="inventory")
                assert code(other)[1] == "idempotency.key_reused"
            taken = await it.act(agent, RESTART, session, key=key)
            assert taken.status_code == 202, taken.text
            assert (taken.json()["approval"]["id"] == one.id) is not swept
            [kept] = [one for one in await it.records() if one["kind"] == "proposal"]
            stands = await it.gate.approvals.get("default", taken.json()["approval"]["id"])
            assert kept["body"].get("plan", {}).get("rollback_digest", "") == stands.rollback_digest
            done = await it.review(oncall, taken.json()["approval"])
            assert done.status_code == 200, done.text
            assert (await it.outcome(agent, taken.json()["action_id"])).json()["status"] == "done"
            assert it.restarts() == 1

    asyncio.run(main())


def test_a_request_on_record_is_withdrawn_by_no_other_that_is_not(tmp_path: Path) -> None:
    """A repetition, and one at the same time that read what there was before the first one stored anything."""

    async def main() -> None:
        async with world(tmp_path) as it:
            agent, oncall = await it.agent(), await it.person("oncall")
            session, key = await it.session(agent), {"Idempotency-Key": "again-1"}
            read, both = it.gate.pipeline._reader.ask, asyncio.Barrier(2)

            async def together(*said: Any) -> Any:
                place = await read(*said)
                await both.wait()
                return place

            it.gate.pipeline._reader.ask = together  # type: ignore[method-assign]
            real, tries = it.gate.log.append, 0

            async def append(tenant: str, draft: Any, **more: Any) -> Any:
                nonlocal tries
                tries += draft.kind == "proposal"
                if draft.kind == "proposal" and tries > 1:
                    raise LogUnavailable("cut off here")
                return await real(tenant, draft, **more)

            it.gate.log.append = append  # type: ignore[method-assign]
            answers = await asyncio.gather(*(it.act(agent, RESTART, session, key=key) for _ in range(2)))
            it.gate.pipeline._reader.ask = read  # type: ignore[method-assign]
            assert sorted(one.status_code for one in answers) == [202, 503]
            assert code(await it.act(agent, RESTART, session, key=key)) == UNRECORDED
            it.gate.log.append = real  # type: ignore[method-assign]
            [waits] = [one.json()["approval"] for one in answers if one.status_code == 202]
            done = await it.review(oncall, waits)
            assert done.status_code == 200, done.text
            assert (await it.outcome(agent, done.json()["approval"]["action_id"])).json()["status"] == "done"
            assert it.restarts() == 1

    asyncio.run(main())


def test_an_answer_is_kept_although_the_whole_log_went_away_after_its_intent(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent, oncall = await it.agent(), await it.person("oncall")
            made = (await it.act(agent, RESTART, await it.session(agent))).json()
            real = it.gate.log.append
            gone = False

            async def append(tenant: str, draft: Any, **more: Any) -> Any:
                nonlocal gone
                if gone:
                    raise LogUnavailable("away")
                done = await real(tenant, draft, **more)
                gone = draft.kind == "intent"
                return done

            it.gate.log.append = append  # type: ignore[method-assign]
            assert code(await it.review(oncall, made["approval"])) == (503, "outcome.unrecorded")
            assert it.restarts() == 0
            it.gate.log.append = real  # type: ignore[method-assign]
            await it.gate.background.sweep()
            assert (await it.outcome(agent, made["action_id"])).json()["status"] == "done"
            assert it.restarts() == 1
            assert len([one for one in await it.records() if one["kind"] == "review"]) == 1

    asyncio.run(main())


def test_what_a_key_signed_is_in_the_log_before_the_removal_of_that_key(tmp_path: Path) -> None:
    async def main() -> None:
        async with critical(tmp_path) as it:

            async def signed_and_unrecorded() -> str:
                key = SoftwareKey()
                credential = await ready(it, "security", key)
                approval, security = (await waiting(it))["approval"], await it.person("security")
                with without(it, "review"):
                    assertion = key.get(await asked(it, security, approval))
                    done = await it.review(security, approval, assertion=assertion)
                assert code(done) == (503, "approval.unrecorded")
                return credential

            deputy = await it.person("deputy")
            first = await signed_and_unrecorded()
            assert (await gate_act(it, deputy, "remove", authenticator=first)).status_code == 200
            second = await signed_and_unrecorded()
            with without(it, "review"):
                refused = await gate_act(it, deputy, "remove", authenticator=second)
                assert code(refused) == UNRECORDED, "no record of it before that of what it signed"
                states = [one.state for one in await it.gate.authenticators.listed("default")]
                assert states == ["removed", "removed"], "it signs nothing any more all the same"
            await it.gate.background.sweep()
            records = await it.records()
            verbs = [one["body"]["authenticator"]["verb"] for one in records if one["kind"] == "authenticator"]
            assert verbs.count("removed") == 1
            signatures = Signatures()
            for index, record in enumerate(records):
                signatures.take(index, {"tenant": "default", **record})
            assert (signatures.count, signatures.wrong) == (2, None)

    asyncio.run(main())


async def what_ended_off_the_record_is_put_on_it_by_asking_again(it: World) -> None:
    oncall, security = await it.person("oncall"), await it.person("security")
    glass = (await ask(it, oncall)).json()["id"]
    await step(it, security, glass, "confirm")
    with without(it, "breakglass"):
        assert code(await step(it, oncall, glass, "end")) == UNRECORDED
    assert (await it.gate.breakglass.get("default", glass)).state == "over"
    assert code(await step(it, security, glass, "end"))[0] == 409
    assert (await step(it, oncall, glass, "end")).json()["state"] == "over"
    assert code(await step(it, oncall, glass, "end"))[0] == 409
    told = [one["body"]["breakglass"] for one in await it.records() if one["kind"] == "breakglass"]
    assert [one["verb"] for one in told if one["id"] == glass] == ["asked", "opened", "ended"]
    assert (await step(it, security, glass, "review")).json()["state"] == "reviewed"


def test_what_stops_and_what_opens_change_on_record_only(tmp_path: Path) -> None:
    async def main() -> None:
        async with critical(tmp_path) as it:
            security, oncall = await it.person("security"), await it.person("oncall")
            assert (await kill(it, oncall)).status_code == 200
            with without(it, "resume"):
                assert code(await resume(it, security, "agent", "dev:agent-1")) == UNRECORDED
            assert [one.target for one in await it.gate.kills.pulled("default")] == ["dev:agent-1"]
            assert (await resume(it, security, "agent", "dev:agent-1")).status_code == 200

            with without(it, "breakglass"):
                assert code(await ask(it, oncall)) == UNRECORDED
            assert await it.gate.breakglass.owed("default") == ()
            glass = (await ask(it, oncall)).json()["id"]
            with without(it, "breakglass"):
                assert code(await step(it, security, glass, "confirm")) == UNRECORDED
            assert (await it.gate.breakglass.get("default", glass)).state == "waiting"
            await step(it, security, glass, "confirm")
            await step(it, oncall, glass, "end")
            with without(it, "breakglass"):
                assert code(await step(it, security, glass, "review")) == UNRECORDED
            assert (await it.gate.breakglass.get("default", glass)).state == "over"
            assert (await step(it, security, glass, "review")).json()["state"] == "reviewed"
            await what_ended_off_the_record_is_put_on_it_by_asking_again(it)

            key = SoftwareKey()
            with without(it, "authenticator"):
                told = (await gate_act(it, security, "read")).json()["result"]["value"]["creation"]
                made = key.create(told["publicKey"])
                refused = await gate_act(it, security, "register", until=told["until"], credential=made)
                assert code(refused) == UNRECORDED
            assert await it.gate.authenticators.listed("default") == ()
            credential = await registered(it, security, key)
            with without(it, "authenticator"):
                refused = await gate_act(it, await it.person("deputy"), "confirm", authenticator=credential)
                assert code(refused) == UNRECORDED
            [one] = await it.gate.authenticators.listed("default")
            assert one.state == "waiting"
            with without(it, "authenticator"):
                assert code(await gate_act(it, security, "remove", authenticator=credential)) == UNRECORDED
            assert [one.state for one in await it.gate.authenticators.listed("default")] == ["removed"]
            assert (await gate_act(it, security, "remove", authenticator=credential)).status_code == 200
            assert code(await gate_act(it, security, "remove", authenticator=credential))[0] == 409
            verbs = [
                one["body"]["authenticator"]["verb"] for one in await it.records() if one["kind"] == "authenticator"
            ]
            assert verbs == ["registered", "removed"]

    asyncio.run(main())
