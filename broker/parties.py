"""What is known of people and agents since they were last asked: roles that a waiting request must not outlive.

A request that waits carries the roles of its requester and of its reviewers as they were. Whoever is seen later with
fewer roles has fewer, also there: the stored roles count only as far as the latest token still says them. The latest
is the one that was issued last, whichever replica saw it.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

from broker.clock import Clock
from broker.model import Json, Party, Principal
from broker.store import Store, parties

REMEMBERED = 10_000
NOTED_SECONDS = 5.0
"""For so long the same token is not written again."""


class Parties:
    """Notes roles as tokens show them, and bounds stored ones by them; shared by replicas through ``store``."""

    def __init__(self, store: Store, clock: Clock) -> None:
        """Remember for a moment which tokens were written already."""
        self._store = store
        self._clock = clock
        self._noted: OrderedDict[tuple[str, str], tuple[tuple[frozenset[str], int], float]] = OrderedDict()

    async def note(self, principal: Principal) -> None:
        """Remember the roles of somebody who came with a token of their own."""
        if principal.actor is not None:
            return
        key, roles = (principal.tenant, principal.subject.id), principal.subject.roles
        issued_at, now = principal.issued_at, self._clock.monotonic()
        said, until = self._noted.get(key, (None, 0.0))
        if said == (roles, issued_at) and now < until:
            return
        await self._store.write(
            lambda c: parties.note(c, principal.tenant, principal.subject.id, roles, issued_at, principal.key),
            durable=False,
        )
        self._noted[key] = ((roles, issued_at), now + NOTED_SECONDS)
        self._noted.move_to_end(key)
        while len(self._noted) > REMEMBERED:
            self._noted.popitem(last=False)

    async def bounded(self, principal: Principal) -> Principal:
        """A stored principal with no role that its parties were since seen without."""
        now = await self._latest(principal.tenant, [party.id for party in principal.parties])
        actor = _bounded(principal.actor, now) if principal.actor else None
        return replace(principal, subject=_bounded(principal.subject, now), actor=actor)

    async def bounded_reviews(self, tenant: str, approvals: Sequence[dict[str, Json]]) -> list[dict[str, Json]]:
        """``context.approvals`` of the policy input with the reviewers' roles bounded likewise."""
        ids = [review["reviewer"] for approval in approvals for review in approval["reviews"]]
        now = await self._latest(tenant, ids)
        return [
            {
                **approval,
                "reviews": [
                    {
                        **review,
                        "roles": [
                            role
                            for role in review["roles"]
                            if role in now.get(review["reviewer"], frozenset(review["roles"]))
                        ],
                    }
                    for review in approval["reviews"]
                ],
            }
            for approval in approvals
        ]

    async def _latest(self, tenant: str, ids: Sequence[str]) -> dict[str, frozenset[str]]:
        if not ids:
            return {}
        return await self._store.glance(lambda c: parties.roles_of(c, tenant, ids))


def _bounded(party: Party, now: dict[str, frozenset[str]]) -> Party:
    """``party`` with the roles that both the stored token and the latest one say."""
    return replace(party, roles=party.roles & now.get(party.id, party.roles))
