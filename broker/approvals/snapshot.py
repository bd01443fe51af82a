"""From a request and a permit to a proposal, and from a proposal back to who asked."""

from collections.abc import Mapping
from dataclasses import asdict

from broker.errors import ObligationFailed
from broker.model import ActionRequest, Decision, Json, Party, PartyKind, Plan, Principal, RequireApproval
from broker.store.approvals import Proposal
from broker.store.rows import new_id


def draft(  # noqa: PLR0913, PLR0917 - one argument a source
    principal: Principal, request: ActionRequest, decision: Decision, duty: RequireApproval, plan: Plan, now: int
) -> Proposal:
    """Shape a proposal; a duty that nobody could meet is an ``ObligationFailed``."""
    if duty.separation not in ("actor", "subject") or duty.quorum < 1 or not duty.roles or duty.expires_s < 1:
        raise ObligationFailed(
            "the approval that policy asks for can never be given",
            code="approval.impossible",
            remedy="ask the owner of the policy to mend the obligation `approval`",
        )
    resource = {**asdict(request.resource), "labels": dict(request.resource.labels)}
    return Proposal(
        id=new_id("apr"),
        tenant=principal.tenant,
        action_id=request.id,
        session=request.session,
        action=request.action,
        resource=resource,
        request={
            "session": request.session,
            "action": request.action,
            "resource": resource,
            "arguments": dict(request.arguments),
            "reason": request.reason,
            "diagnosis": request.diagnosis,
            "turn": dict(request.turn),
        },
        request_digest=request.digest,
        digest=request.digest,
        narrowed=None,
        bounds={},
        plan={**asdict(plan), "affected": list(plan.affected)},
        plan_fingerprint=plan.fingerprint,
        rollback_digest="",
        policy_revision=decision.policy_revision,
        policy_digest=decision.policy_digest,
        subject=principal.subject.id,
        actor=principal.actor.id if principal.actor else "",
        principal=kept(principal),
        token_expires_at=principal.expires_at,
        quorum=duty.quorum,
        roles=tuple(sorted(duty.roles)),
        separation=duty.separation,
        signature=duty.signature,
        tier=decision.tier,
        created_at=now,
        expires_at=now + duty.expires_s,
        changed_at=now,
        state="waiting",
    )


def kept(principal: Principal) -> dict[str, Json]:
    """Keep who asked or answered, without the token or anything made from it."""
    parties = {"subject": principal.subject, "actor": principal.actor}
    return {
        **{
            role: {"id": party.id, "kind": party.kind.value, "roles": sorted(party.roles)} if party else None
            for role, party in parties.items()
        },
        "issuer": principal.issuer,
        "client": principal.client,
        "scopes": sorted(principal.scopes),
        "auth_time": principal.auth_time,
        "acr": principal.acr,
    }


def _party(said: Mapping[str, Json]) -> Party:
    """Read a party of a snapshot."""
    return Party(said["id"], PartyKind(said["kind"]), frozenset(said["roles"]))


def stored_principal(proposal: Proposal) -> Principal:
    """Return the requester as it was when it asked; the token itself is never stored."""
    return principal_of(proposal.tenant, proposal.principal, proposal.token_expires_at)


def principal_of(tenant: str, said: Mapping[str, Json], expires_at: int) -> Principal:
    """Read what ``kept`` made; a sign-in whose end was not kept ended at 0."""
    return Principal(
        tenant=tenant,
        subject=_party(said["subject"]),
        actor=_party(said["actor"]) if said["actor"] else None,
        issuer=said["issuer"],
        expires_at=expires_at,
        client=said["client"],
        scopes=frozenset(said["scopes"]),
        auth_time=said["auth_time"],
        acr=said["acr"],
    )
