"""Approvals: what a proposal binds, who may answer, what counts, and that it serves once."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from broker.approvals import Answer, Approvals, Proposal, stored_principal
from broker.clock import SeededClock
from broker.errors import BadRequest, BrokerError, Conflict, Denied, NotFound, ObligationFailed, StepUpRequired
from broker.store import Store
from tests.desks import Desk
from tests.stores import (
    agent,
    fresh_tenant,
    human,
    request_of,
)


@pytest.fixture
def tenant() -> str:
    return fresh_tenant()


@pytest.fixture
def approvals(store: Store, clock: SeededClock) -> Approvals:
    return Approvals(store, clock)


@pytest.fixture
def desk(approvals: Approvals, clock: SeededClock, tenant: str) -> Desk:
    return Desk(approvals, clock, tenant)


def refusal(code: str, call: Callable[[], object], kind: type[BrokerError] = BrokerError) -> None:
    with pytest.raises(kind) as refused:
        call()
    assert refused.value.error_code == code


# -- proposing ------------------------------------------------------------------------------------------------------------


def test_a_proposal_comes_back_as_it_was_made(desk: Desk) -> None:
    made = desk.propose(quorum=2, roles=("security", "oncall"), separation="subject", signature=True)
    found = asyncio.run(desk.approvals.get(desk.tenant, made.id))
    assert found == made
    assert (found.state, found.quorum, found.roles) == ("waiting", 2, ("oncall", "security"))
    assert found.expires_at - found.created_at == 900
    assert found.plan["after"] == {"pid": 2}
    assert found.request["arguments"] == {"amount": 50, "targets": ["a", "b", "c"], "text": "x"}
    assert len(found.id) == len("apr_") + 26


def test_proposing_again_returns_what_stands(desk: Desk) -> None:
    request = request_of(desk.tenant, amount=1)
    first = desk.propose(request=request)
    assert desk.propose(request=request) == first
    approved = desk.review(first, desk.ann)
    assert desk.propose(request=request) == approved


def test_the_same_action_with_another_payload_is_refused(desk: Desk) -> None:
    request = request_of(desk.tenant, amount=1)
    desk.propose(request=request)
    refusal("approval.other_request", lambda: desk.propose(request=replace(request, digest="0" * 64)), Conflict)


def test_an_expired_or_cancelled_proposal_may_be_made_anew_for_the_same_action(desk: Desk) -> None:
    request = request_of(desk.tenant, amount=1)
    first = desk.propose(request=request)
    desk.clock.advance(900)
    second = desk.propose(request=request)
    asyncio.run(desk.approvals.cancel(desk.tenant, second.id))
    third = desk.propose(request=request)
    assert len({first.id, second.id, third.id}) == 3
    assert [desk.state(one) for one in (first, second, third)] == ["expired", "cancelled", "waiting"]


@pytest.mark.parametrize("end", ["denied", "executing", "done", "failed", "unknown"])
def test_an_action_that_was_denied_or_executed_is_not_proposed_again(desk: Desk, end: str) -> None:
    request = request_of(desk.tenant, amount=1)
    made = desk.propose(request=request)
    if end == "denied":
        desk.review(made, desk.ann, "deny")
    else:
        desk.review(made, desk.ann)
        desk.begin(made)
        if end != "executing":
            desk.finish(made, end)
    refusal("approval.closed", lambda: desk.propose(request=request), Conflict)


@pytest.mark.parametrize("duty", [{"quorum": 0}, {"roles": ()}, {"expires_s": 0}, {"separation": "nobody"}])
def test_an_approval_that_nobody_could_give_is_a_failed_obligation(desk: Desk, duty: dict[str, Any]) -> None:
    with pytest.raises(ObligationFailed):
        desk.propose(**duty)


def test_the_requester_is_kept_as_it_was_and_the_token_is_not(desk: Desk, tenant: str) -> None:
    asker = replace(agent("agent-1", tenant, behalf=desk.ann), token_ref="f" * 64, auth_time=5, acr="mfa")
    made = desk.propose(by=asker)
    found = asyncio.run(desk.approvals.get(tenant, made.id))
    assert stored_principal(found) == replace(asker, token_ref="")
    assert "f" * 64 not in str(found.principal)


# -- who may review -----------------------------------------------------------------------------------------------------


def test_one_person_with_a_role_approves(desk: Desk) -> None:
    done = desk.review(desk.propose(), desk.ann, reason="seen \x00 it")
    assert done.state == "approved"
    assert [(one.reviewer, one.verdict, one.reason) for one in done.reviews] == [("dev:ann", "approve", "seen \x00 it")]


def test_an_agent_does_not_review_even_with_the_role_or_behind_a_person(desk: Desk, tenant: str) -> None:
    made = desk.propose()
    other = agent("agent-2", tenant)
    with_role = replace(other, subject=replace(other.subject, roles=frozenset({"oncall"})))
    for reviewer in (with_role, agent("agent-2", tenant, behalf=desk.ann)):
        for verdict in ("approve", "deny"):
            refusal("approval.not_a_person", lambda r=reviewer, v=verdict: desk.review(made, r, v), Denied)
    assert desk.state(made) == "waiting"


def test_a_person_without_one_of_the_roles_does_not_review(desk: Desk, tenant: str) -> None:
    made = desk.propose(roles=("oncall", "security"))
    refusal("approval.role", lambda: desk.review(made, human("eve", "auditor", tenant=tenant)), Denied)
    refusal("approval.role", lambda: desk.review(made, human("eve", tenant=tenant), "deny"), Denied)
    assert desk.review(made, human("sec", "security", tenant=tenant)).state == "approved"


def test_the_human_behind_the_agent_may_approve_under_actor_separation_only(desk: Desk, tenant: str) -> None:
    asker = agent("agent-1", tenant, behalf=desk.ann)
    done = desk.review(desk.propose(by=asker, separation="actor"), desk.ann)
    assert (done.state, done.reviews[0].same_subject, done.reviews[0].same_actor) == ("approved", True, False)
    strict = desk.propose(by=asker, separation="subject")
    refusal("approval.own", lambda: desk.review(strict, desk.ann), Denied)
    assert desk.review(strict, desk.bob).state == "approved"


@pytest.mark.parametrize("separation", ["actor", "subject"])
def test_nobody_approves_what_they_asked_for_themselves(desk: Desk, separation: str) -> None:
    made = desk.propose(by=desk.ann, separation=separation)
    refusal("approval.own", lambda: desk.review(made, desk.ann), Denied)
    assert desk.review(made, desk.bob).state == "approved"


def test_a_sign_in_that_ran_out_does_not_review(desk: Desk, tenant: str) -> None:
    stale = human("ann", "oncall", tenant=tenant, expires_at=desk.now)
    with pytest.raises(StepUpRequired):
        desk.review(desk.propose(), stale)


def test_a_proposal_that_wants_a_signature_is_not_approved_without_one_but_may_be_denied(desk: Desk) -> None:
    made = desk.propose(signature=True)
    refusal("approval.signature", lambda: desk.review(made, desk.ann), StepUpRequired)
    assert desk.review(made, desk.ann, signature="sig").reviews[0].signature == "sig"
    assert desk.review(desk.propose(signature=True), desk.ann, "deny").state == "denied"


def test_another_tenants_proposal_is_not_there_for_anybody(desk: Desk) -> None:
    made = desk.propose()
    stranger = human("ann", "oncall", tenant=fresh_tenant())
    with pytest.raises(NotFound) as foreign:
        desk.review(made, stranger)
    with pytest.raises(NotFound) as absent:
        asyncio.run(desk.approvals.review(desk.ann, "apr_none", Answer("approve", "d")))
    assert str(foreign.value) == str(absent.value)
    for call in (
        lambda: desk.approvals.get(stranger.tenant, made.id),
        lambda: desk.approvals.begin_execution(stranger.tenant, made.id, made.digest, desk.now),
        lambda: desk.approvals.finish(stranger.tenant, made.id, "done"),
        lambda: desk.approvals.cancel(stranger.tenant, made.id),
    ):
        with pytest.raises(NotFound):
            asyncio.run(call())
    assert asyncio.run(desk.approvals.page(stranger.tenant, ("waiting",))).items == ()
    assert asyncio.run(desk.approvals.facts_for(stranger, made.action_id)) == []
    assert desk.state(made) == "waiting"


# -- what counts ----------------------------------------------------------------------------------------------------------


def test_a_quorum_is_met_by_distinct_people(desk: Desk) -> None:
    made = desk.propose(quorum=2)
    assert desk.review(made, desk.ann).state == "waiting"
    refusal("approval.reviewed", lambda: desk.review(made, desk.ann), Conflict)
    assert desk.review(made, desk.bob).state == "approved"


def test_a_denial_ends_it_whatever_was_approved_before(desk: Desk) -> None:
    made = desk.propose(quorum=2)
    desk.review(made, desk.ann)
    assert desk.review(made, desk.bob, "deny").state == "denied"
    refusal("approval.closed", lambda: desk.review(made, human("cy", "oncall", tenant=desk.tenant)), Conflict)


def test_who_approved_may_still_withdraw_until_it_runs(desk: Desk) -> None:
    made = desk.approved()
    assert desk.review(made, desk.ann, "deny").state == "denied"
    refusal("approval.used", lambda: desk.begin(made), Conflict)
    running = desk.approved()
    desk.begin(running)
    refusal("approval.closed", lambda: desk.review(running, desk.bob, "deny"), Conflict)


def test_a_review_of_another_digest_is_refused(desk: Desk) -> None:
    made = desk.propose()
    for digest in ("0" * 64, "", made.digest[:-1], made.digest.upper(), "é" * 64):
        for verdict in ("approve", "deny"):
            refusal("approval.digest", lambda d=digest, v=verdict: desk.review(made, desk.ann, v, digest=d), Conflict)
    assert desk.state(made) == "waiting"


def test_an_unknown_verdict_is_named(desk: Desk) -> None:
    refusal("approval.verdict", lambda: desk.review(desk.propose(), desk.ann, "Approve"), BadRequest)


@pytest.mark.parametrize("verdict", ["approve", "deny"])
def test_an_expired_proposal_takes_no_review(desk: Desk, verdict: str) -> None:
    made = desk.propose()
    desk.clock.advance(900)
    refusal("approval.expired", lambda: desk.review(made, desk.ann, verdict), Conflict)
    assert desk.state(made) == "expired"


# -- narrowing --------------------------------------------------------------------------------------------------------------


def test_narrowing_binds_another_digest_and_earlier_reviews_no_longer_count(desk: Desk) -> None:
    made = desk.propose(quorum=2)
    desk.review(made, desk.ann)
    smaller = desk.review(made, desk.bob, narrow={"amount": 10, "targets": ["a", "c"]})
    assert smaller.state == "waiting"
    assert smaller.digest != made.digest == smaller.request_digest
    assert smaller.narrowed == {"amount": 10, "targets": ["a", "c"], "text": "x"}
    refusal("approval.digest", lambda: desk.review(made, desk.ann), Conflict)
    assert desk.review(smaller, desk.ann).state == "approved"
    refusal("approval.digest", lambda: desk.begin(made, made.digest), Conflict)
    desk.begin(smaller)


def test_narrowing_to_the_same_arguments_changes_nothing_and_earlier_reviews_count(desk: Desk) -> None:
    made = desk.propose(quorum=2)
    desk.review(made, desk.ann)
    same = desk.review(made, desk.bob, narrow={"amount": 50})
    assert (same.state, same.digest, same.narrowed) == ("approved", made.digest, None)


def test_a_narrowed_request_is_narrowed_further_from_where_it_stands(desk: Desk) -> None:
    made = desk.propose(quorum=2)
    smaller = desk.review(made, desk.ann, narrow={"amount": 10})
    refusal("approval.not_narrower", lambda: desk.review(smaller, desk.bob, narrow={"amount": 20}), BadRequest)
    assert desk.review(smaller, desk.bob, narrow={"amount": 5}).narrowed == {
        "amount": 5,
        "targets": ["a", "b", "c"],
        "text": "x",
    }


@pytest.mark.parametrize(
    "narrow",
    [
        {"amount": 51},
        {"amount": -1},
        {"amount": "10"},
        {"amount": True},
        {"amount": None},
        {"targets": []},
        {"targets": ["d"]},
        {"targets": ["c", "a"]},
        {"targets": ["a", "a"]},
        {"targets": "a"},
        {"text": ""},
        {"text": "y"},
        {"new": 1},
        {"amount": 10, "text": "y"},
    ],
)
def test_an_edit_that_does_not_narrow_is_refused_whole(desk: Desk, narrow: dict[str, Any]) -> None:
    made = desk.propose()
    refusal("approval.not_narrower", lambda: desk.review(made, desk.ann, narrow=narrow), BadRequest)
    assert asyncio.run(desk.approvals.get(desk.tenant, made.id)) == made


def test_a_denial_does_not_narrow(desk: Desk) -> None:
    refusal("approval.narrow", lambda: desk.review(desk.propose(), desk.ann, "deny", narrow={"amount": 1}), BadRequest)


# -- redeeming --------------------------------------------------------------------------------------------------------------


def test_an_approval_serves_once(desk: Desk) -> None:
    made = desk.approved()
    desk.begin(made)
    refusal("approval.used", lambda: desk.begin(made), Conflict)
    desk.finish(made, "done")
    refusal("approval.used", lambda: desk.begin(made), Conflict)


def test_what_is_not_approved_does_not_begin(desk: Desk) -> None:
    waiting = desk.propose()
    refusal("approval.waiting", lambda: desk.begin(waiting), Conflict)
    made = desk.propose(quorum=2)
    desk.review(made, desk.ann)
    refusal("approval.waiting", lambda: desk.begin(made), Conflict)
    denied = desk.review(desk.propose(), desk.ann, "deny")
    refusal("approval.used", lambda: desk.begin(denied), Conflict)


def test_an_approval_ends_at_its_second_even_if_nobody_stored_that(desk: Desk) -> None:
    made = desk.approved()
    desk.clock.advance(899)
    other = desk.approved()
    desk.begin(made)
    desk.clock.advance(900)
    refusal("approval.expired", lambda: desk.begin(other), Conflict)


@pytest.mark.parametrize(("step_s", "code"), [(3600, "approval.expired"), (-3600, "approval.clock")])
def test_a_clock_that_steps_an_hour_redeems_nothing(desk: Desk, step_s: int, code: str) -> None:
    made = desk.approved()
    desk.clock.step_wall(step_s)
    refusal(code, lambda: desk.begin(made), Conflict)
    desk.clock.step_wall(-step_s)
    desk.begin(made)


def test_a_stored_expiry_stays_when_the_clock_goes_back(desk: Desk) -> None:
    made = desk.approved()
    desk.clock.step_wall(3600)
    asyncio.run(desk.approvals.expire(10_000))
    desk.clock.step_wall(-3600)
    assert desk.state(made) == "expired"
    refusal("approval.expired", lambda: desk.begin(made), Conflict)


def test_expiring_stores_what_is_due_and_nothing_else(desk: Desk) -> None:
    waiting, approved, running, fresh = desk.propose(), desk.approved(), desk.approved(), desk.propose(expires_s=2_000)
    desk.begin(running)
    desk.clock.advance(900)
    gone = asyncio.run(desk.approvals.expire(10_000))
    assert {one for tenant, one in gone if tenant == desk.tenant} == {waiting.id, approved.id}
    assert (desk.state(running), desk.state(fresh)) == ("executing", "waiting")
    assert not [one for tenant, one in asyncio.run(desk.approvals.expire(10_000)) if tenant == desk.tenant]


def test_an_unknown_outcome_is_closed_later_and_only_then(desk: Desk) -> None:
    made = desk.approved()
    refusal("approval.state", lambda: desk.finish(made, "done"), Conflict)
    desk.begin(made)
    for status in ("unknown", "unknown", "failed", "failed"):
        desk.finish(made, status)
        assert desk.state(made) == status
    for status in ("done", "unknown", "cancelled"):
        refusal("approval.state", lambda s=status: desk.finish(made, s), Conflict)
    refusal("approval.status", lambda: desk.finish(made, "approved"), BadRequest)


def test_what_began_cannot_be_withdrawn(desk: Desk) -> None:
    made = desk.approved()
    desk.begin(made)
    refusal("approval.state", lambda: asyncio.run(desk.approvals.cancel(desk.tenant, made.id)), Conflict)
    assert desk.state(made) == "executing"


# -- facts and lists ----------------------------------------------------------------------------------------------------------


def test_policy_sees_the_answers_to_exactly_this_request(desk: Desk) -> None:
    made = desk.propose(quorum=2)
    desk.review(made, desk.ann)
    smaller = desk.review(made, desk.bob, narrow={"amount": 10})
    facts = asyncio.run(desk.approvals.facts_for(desk.agent, made.action_id))
    review = {"reviewer": "dev:bob", "type": "human", "roles": ["oncall"], "verdict": "approve"}
    review |= {"same_actor": False, "same_subject": False, "acr": "fresh"}  # type: ignore[dict-item]
    assert facts == [{"id": made.id, "digest": smaller.digest, "policy_revision": "r1", "reviews": [review]}]


def test_policy_sees_a_denial(desk: Desk) -> None:
    made = desk.review(desk.propose(), desk.ann, "deny")
    assert desk.approvals.facts(made, desk.agent)[0]["reviews"][0]["verdict"] == "deny"


def test_only_the_requester_has_facts_and_only_while_they_serve(desk: Desk, tenant: str) -> None:
    made = desk.approved()
    assert desk.approvals.facts(made, desk.agent)
    for other in (agent("agent-2", tenant), agent("agent-1", tenant, behalf=desk.ann), agent("agent-1"), desk.ann):
        assert desk.approvals.facts(made, other) == []
    behalf = desk.review(desk.propose(by=agent("agent-1", tenant, behalf=desk.ann)), desk.bob)
    assert desk.approvals.facts(behalf, agent("agent-1", tenant, behalf=desk.ann))
    for other in (agent("agent-2", tenant, behalf=desk.ann), desk.ann):
        assert desk.approvals.facts(behalf, other) == []
    assert asyncio.run(desk.approvals.facts_for(desk.agent, "act_none")) == []
    desk.begin(made)
    assert asyncio.run(desk.approvals.facts_for(desk.agent, made.action_id)) == []
    late = desk.approved()
    desk.clock.advance(900)
    assert desk.approvals.facts(late, desk.agent) == []


def test_pages_hold_every_proposal_once_newest_first(desk: Desk) -> None:
    made = []
    for number in range(7):
        made.append(desk.propose().id)
        desk.clock.advance(number % 2)
    seen: list[Proposal] = []
    after, pages = "", 0
    while pages == 0 or after:
        page = asyncio.run(desk.approvals.page(desk.tenant, ("waiting",), 3, after))
        seen, after, pages = [*seen, *page.items], page.after, pages + 1
    assert pages == 3
    assert sorted(one.id for one in seen) == sorted(made)
    assert [one.created_at for one in seen] == sorted((one.created_at for one in seen), reverse=True)


def test_a_list_holds_only_the_asked_states(desk: Desk) -> None:
    waiting, approved = desk.propose(), desk.approved()
    for states, ids in (
        (("waiting",), [waiting.id]),
        (("approved", "nonsense"), [approved.id]),
        (("denied",), []),
        ((), []),
    ):
        assert [one.id for one in asyncio.run(desk.approvals.page(desk.tenant, states)).items] == ids


@pytest.mark.parametrize(
    "after", ["x", "1", "1.", "-1.apr", "1e3.apr", "9" * 30 + ".apr", "1.é", "1." + "a" * 99, "٣.a"]
)
def test_a_forged_place_in_a_list_is_named_or_finds_nothing(desk: Desk, after: str) -> None:
    desk.propose()
    try:
        assert asyncio.run(desk.approvals.page(desk.tenant, ("waiting",), 3, after)).items == ()
    except BadRequest as refused:
        assert refused.error_code == "request.after"  # noqa: PT017 - either answer is right
