"""The gate's own acts about authenticators, and the signature of a review: decided and on record before they come here."""

import hashlib
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from audit.signed import challenge
from broker.approvals import Approvals, Proposal
from broker.approvals.checks import may_review
from broker.authenticators import Authenticator, Authenticators, Signed
from broker.authenticators.ceremonies import public_key_text
from broker.clock import Clock, seconds
from broker.errors import BrokerError
from broker.leaves import word
from broker.model import Json, Principal
from broker.records import Records

Act = Callable[[Principal, Mapping[str, Any]], Awaitable[Json]]


class AuthenticatorActs:
    """Acts by name; ``acts.Acts`` runs them beside its own."""

    def __init__(self, desk: Authenticators, records: Records, settle: Callable[[str, str], Awaitable[None]]) -> None:
        """``settle`` puts on record what a person of a tenant answered."""
        self._desk = desk
        self._records = records
        self._settle = settle
        self.acts: Mapping[str, Act] = {
            "gate.authenticators.read": self._read,
            "gate.authenticators.register": self._register,
            "gate.authenticators.confirm": self._confirm,
            "gate.authenticators.remove": self._remove,
        }

    async def _read(self, principal: Principal, _said: Mapping[str, Any]) -> Json:
        """Those of the tenant, and what one's own browser must be asked to register another, or why no browser can be."""
        known = await self._desk.listed(principal.tenant)
        shown = [_shown(one, principal) for one in known]
        fault = self._desk.site.fault
        return {
            "authenticators": shown,
            "creation": None if fault else self._desk.creation(principal, known),
            "why_not": {"detail": fault.detail, "remedy": fault.error_remedy} if fault else None,
        }

    async def _register(self, principal: Principal, said: Mapping[str, Any]) -> Json:
        new = self._desk.proven(principal, said["until"], said["credential"])
        await self._desk.check_new(new)
        # Once, however often it is asked for: who registered it and got no answer asks again.
        await self._record(principal, "registered", new, said["reason"], f"authenticator.registered.{_mark(new)}")
        await self._desk.add(new)
        return {"authenticator": _shown(new, principal)}

    async def _confirm(self, principal: Principal, said: Mapping[str, Any]) -> Json:
        found = await self._desk.confirmable(principal, said["authenticator"])
        await self._record(principal, "confirmed", found, said["reason"])
        await self._desk.confirm(principal, found.id)
        return {"authenticator": _shown(await self._desk.get(found.tenant, found.id), principal)}

    async def _remove(self, principal: Principal, said: Mapping[str, Any]) -> Json:
        """It counts no more first; who removed it and got no answer asks again, and it is put on record then, if it is not."""
        found = await self._desk.get(principal.tenant, said["authenticator"])
        event = f"authenticator.removed.{_mark(found)}"
        if found.removed_by != principal.subject.id or await self._records.has(found.tenant, event):
            found = await self._desk.remove(principal, found.id)
        await self._settle(found.tenant, found.party)  # what it signed while it was in force comes before in the log
        await self._record(principal, "removed", found, said["reason"], event)
        return {"authenticator": _shown(await self._desk.get(found.tenant, found.id), principal)}

    async def _record(self, principal: Principal, verb: str, one: Authenticator, reason: str, event: str = "") -> None:
        """Before it counts, and after it counts no more: the log never knows less than the rows."""
        told: dict[str, Json] = {
            "verb": verb,
            "credential": one.id,
            "key": public_key_text(one.public_key),
            "model": word(one.aaguid),
            "owner": self._records.ref(one.tenant, "per", one.party),
        }
        event = event or f"authenticator.{verb}.{_mark(one)}.{secrets.token_hex(8)}"
        await self._records.of_person(principal, "authenticator", told, event=event, owner=one.party, reason=reason)


class Signing:
    """What a reviewer signs where policy wants a signature, and whether they did."""

    def __init__(self, *, desk: Authenticators, approvals: Approvals, records: Records, clock: Clock) -> None:
        self._desk = desk
        self._approvals = approvals
        self._records = records
        self._clock = clock

    async def wanted(self, reviewer: Principal, found: Proposal) -> Json:
        """What ``navigator.credentials.get()`` is asked to approve ``found``; none where nothing is to be signed."""
        if not found.signature or found.state != "waiting":
            return None
        try:
            may_review(found, reviewer, seconds(self._clock))
        except BrokerError:
            return None
        return await self._desk.request(reviewer, challenge(self._statement(reviewer, found, found.digest, "approve")))

    async def given(self, reviewer: Principal, said: Mapping[str, Any]) -> tuple[Signed, dict[str, Json]] | None:
        """The checked assertion of a review, and the groups of its record; None where it brings none.

        ``said`` = the arguments of ``gate.review.create``. Raises as ``Authenticators.check``.
        """
        if not said.get("assertion"):
            return None
        found = await self._approvals.get(reviewer.tenant, said["approval"])
        statement = self._statement(reviewer, found, said["digest"], said["verdict"])
        signed = await self._desk.check(reviewer, challenge(statement), found.id, said["assertion"])
        plan = {"fingerprint": statement["plan"]}
        if statement["rollback"]:
            plan["rollback_digest"] = statement["rollback"]
        policy = {"revision": statement["revision"], "digest": statement["policy"]}
        return signed, {"policy": policy, "plan": plan, "signature": dict(signed.record)}

    def _statement(self, reviewer: Principal, found: Proposal, digest: str, verdict: str) -> dict[str, str]:
        """What is decided: each part stands in the review's record, too."""
        return {
            "approval": found.id,
            "plan": hashlib.sha256(found.plan_fingerprint.encode()).hexdigest(),
            "policy": found.policy_digest,
            "request": digest,
            "reviewer": self._records.ref(reviewer.tenant, "per", reviewer.subject.id),
            "revision": found.policy_revision,
            "rollback": found.rollback_digest,
            "tenant": reviewer.tenant,
            "verdict": verdict,
        }


def _mark(one: Authenticator) -> str:
    """Of this key of this person."""
    return hashlib.sha256(b"\x00".join((one.id.encode(), one.party.encode(), one.public_key))).hexdigest()[:26]


def _shown(one: Authenticator, reader: Principal) -> dict[str, Json]:
    """As the API answers it; the key itself is nobody's business."""
    return {
        "id": one.id,
        "party": one.party,
        "own": one.party == reader.subject.id,
        "state": one.state,
        "model": one.aaguid,
        "transports": list(one.transports),
        "created_at": one.created_at,
        "confirmed_by": one.confirmed_by,
        "confirmed_at": one.confirmed_at,
        "used_at": one.used_at,
        "removed_by": one.removed_by,
        "removed_at": one.removed_at,
    }
