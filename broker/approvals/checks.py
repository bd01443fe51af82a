"""Who may review what, and whether an answer fits the proposal as it stands."""

import hmac
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from broker.approvals import snapshot
from broker.errors import BadRequest, Conflict, Denied, Reason, StepUpRequired
from broker.model import Json, PartyKind, Principal
from broker.store import Connection
from broker.store.approvals import Proposal, Review
from broker.store.rows import pack


@dataclass(frozen=True, slots=True)
class Answer:
    """What a reviewer says. ``digest`` is the one that was shown to them."""

    verdict: str
    digest: str
    reason: str = ""
    narrow: Mapping[str, Json] | None = None
    """Arguments to replace by narrower values; approves the narrowed request."""
    signature: str = ""
    """A signature over this answer that the caller has verified, where the proposal asks for one."""
    proven: Mapping[str, Json] = field(default_factory=dict)
    """Groups of the review's record that the signature proves."""
    redeem: Callable[[Connection], None] = field(default=lambda _connection: None, repr=False)
    """Makes the signature count, once, in the transaction that stores the answer; raises where it counted before."""


def may_review(found: Proposal, reviewer: Principal, now: int) -> None:
    """Check that this person may answer at all."""
    person = reviewer.subject
    if person.kind is not PartyKind.HUMAN or reviewer.actor is not None:
        raise Denied("only a person, by their own sign-in, may review", code="approval.not_a_person")
    if now >= reviewer.expires_at:
        raise StepUpRequired
    own = {found.requester} if found.separation == "actor" else {found.subject, found.actor}
    if person.id in own:
        raise Denied("nobody reviews their own request", code="approval.own", remedy="ask somebody else to review")
    if not person.roles & frozenset(found.roles):
        raise Denied(
            "reviewing this needs another role",
            code="approval.role",
            remedy=f"ask somebody who holds one of: {', '.join(found.roles)}",
        )


def strong_enough(reviewer: Principal, answer: Answer, acr_values: Collection[str]) -> None:
    """Check that who approves signed in by a method that counts; refusing takes no more than the right to."""
    if answer.verdict != "approve" or not acr_values or reviewer.acr in acr_values:
        return
    raise StepUpRequired(
        "approving this needs a stronger sign-in",
        code="identity.acr_not_met",
        remedy="sign in again by one of the methods that the gate names (acr_values), and answer again",
        reasons=[Reason("identity.acr_not_met", params={"acr_values": " ".join(acr_values)})],
    )


def fits(found: Proposal, answer: Answer) -> None:
    """Check that this answer fits the proposal as it stands."""
    if answer.verdict not in ("approve", "deny"):
        raise BadRequest("field `verdict` must be approve or deny", code="approval.verdict")
    if found.state == "expired":
        raise Conflict("the proposal is expired", code="approval.expired", remedy="the requester sends a new request")
    # Whoever may answer may also stop what is approved and has not begun.
    if found.state not in (("waiting",) if answer.verdict == "approve" else ("waiting", "approved")):
        raise Conflict(f"the proposal is {found.state} already", code="approval.closed")
    if not hmac.compare_digest(found.digest.encode(), answer.digest.encode()):
        raise Conflict(
            "the digest is not that of the proposal as it stands",
            code="approval.digest",
            remedy="read the proposal again and review what it shows now",
        )
    if found.signature and answer.verdict == "approve" and not answer.signature:
        raise StepUpRequired(
            "approving this needs a signature",
            code="approval.signature",
            remedy=f"open /console/inbox/{found.id} in the console and sign there with your security key",
        )
    if found.signature and answer.narrow is not None:
        raise BadRequest(
            "field `narrow` does not go with a signature, which is over the request as it stands",
            code="approval.narrow_signed",
            remedy="approve the request as it stands, or deny it and say how it should be smaller",
        )


def answers_once(found: Proposal, reviewer: Principal, verdict: str, digest: str) -> None:
    """Check that this person has not said the same to this digest before."""
    said = {(one.reviewer, one.verdict) for one in found.reviews if one.digest == digest}
    if (reviewer.subject.id, verdict) in said:
        raise Conflict("you have answered this already", code="approval.reviewed")


def approvers(found: Proposal, digest: str) -> set[str]:
    """People who approved exactly ``digest``, and whose answer is on record."""
    return {one.reviewer for one in found.reviews if one.verdict == "approve" and one.digest == digest and one.counts}


def review_of(found: Proposal, reviewer: Principal, answer: Answer, digest: str, now: int) -> Review:
    """Shape the stored answer, with what its record will say."""
    person = reviewer.subject
    alike = [one for one in found.reviews if one.verdict == "approve" and one.digest == digest]
    given = len(alike) + (answer.verdict == "approve")
    said = {"principal": snapshot.kept(reviewer), "proven": dict(answer.proven), "given": given}
    return Review(
        reviewer=person.id,
        kind=person.kind.value,
        roles=tuple(sorted(person.roles)),
        acr=reviewer.acr,
        verdict=answer.verdict,
        digest=digest,
        reason=answer.reason,
        signature=answer.signature,
        same_actor=person.id == found.requester,
        same_subject=person.id == found.subject,
        at=now,
        owed=pack(said),
    )


def unredeemable(found: Proposal, digest: str, now: int) -> Conflict:
    """Say why an approval could not be redeemed."""
    again = "the requester sends a new request"
    state = found.at(now).state
    if state == "expired":
        return Conflict("the approval is expired", code="approval.expired", remedy=again)
    if state == "waiting":
        return Conflict("people have not approved this yet", code="approval.waiting", remedy="wait for the reviews")
    if state != "approved":
        return Conflict(f"the approval is {state}: it serves once", code="approval.used", remedy=again)
    if not hmac.compare_digest(found.digest.encode(), digest.encode()):
        return Conflict("the approval is for another request", code="approval.digest", remedy=again)
    return Conflict("the gate's clock stands before the proposal", code="approval.clock", remedy="set the host's clock")
