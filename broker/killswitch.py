"""The kill switch: stops an agent, a connector, a tenant or everything, from the next request on, on all replicas.

It is read from the database with every request, so it needs no message between replicas and survives a restart.
Pulling needs a human with a role that the configuration names, and no policy answer; the caller writes the record.
Resuming is an ordinary decided action, never by the one that is stopped.
"""

from collections.abc import Collection

from broker.clock import Clock, seconds
from broker.errors import BadRequest, Denied
from broker.model import PartyKind, Principal
from broker.store import Store, kills
from broker.store.kills import Kill
from broker.store.rows import EVERY_TENANT


class KillSwitch:
    """Pulls, resumes and reads the switches."""

    def __init__(
        self, store: Store, clock: Clock, *, roles: Collection[str], roles_for_all: Collection[str] = ()
    ) -> None:
        """``roles`` may pull inside their tenant; ``roles_for_all`` may also stop every tenant."""
        self._store = store
        self._clock = clock
        self._roles = frozenset(roles) | frozenset(roles_for_all)
        self._roles_for_all = frozenset(roles_for_all)

    async def pull(self, principal: Principal, scope: str, target: str, reason: str) -> bool:
        """Stop ``target`` (a party id, a connector; empty for ``tenant`` and ``all``); True if it was running until now.

        Raises ``Denied`` (``kill.role``) for anybody but a human with a role for it, ``BadRequest`` for a wrong scope.
        """
        tenant = self._tenant_of(principal, scope, target)
        needed = self._roles_for_all if scope == "all" else self._roles
        if principal.acting.kind is not PartyKind.HUMAN or not principal.acting.roles & needed:
            raise Denied(
                "pulling the kill switch needs a person with a role for it",
                code="kill.role",
                remedy="ask somebody who holds one of the roles that the configuration names",
            )
        kill = Kill(tenant, scope, target, principal.acting.id, seconds(self._clock), reason)
        return await self._store.write(lambda c: kills.pull(c, kill))

    async def resume(self, principal: Principal, scope: str, target: str) -> bool:
        """Let ``target`` run again, after policy permitted it; True if it was stopped until now.

        Raises ``Denied`` (``kill.own``) where the principal, or whom it acts for, is the stopped one.
        """
        tenant = self._tenant_of(principal, scope, target)
        if scope == "agent" and any(party.id == target for party in principal.parties):
            raise Denied("the one that is stopped cannot resume itself", code="kill.own", remedy="ask somebody else")
        by, now = principal.acting.id, seconds(self._clock)
        return await self._store.write(lambda c: kills.resume(c, tenant, scope, target, by=by, now_s=now))

    async def is_killed(self, tenant: str, acting: str, connector: str) -> bool:
        """Say whether this agent, connector or tenant is stopped now."""
        return await self._store.read(lambda c: kills.is_killed(c, tenant, acting, connector))

    async def pulled(self, tenant: str) -> tuple[Kill, ...]:
        """Return the switches that stop something of ``tenant`` now."""
        return await self._store.read(lambda c: kills.pulled(c, tenant))

    @staticmethod
    def _tenant_of(principal: Principal, scope: str, target: str) -> str:
        """Check scope and target together; return the tenant column of the switch."""
        if scope not in kills.SCOPES:
            raise BadRequest(f"field `scope` must be one of {', '.join(kills.SCOPES)}", code="kill.scope")
        if bool(target) != (scope in ("agent", "connector")):
            raise BadRequest("field `target` belongs to the scopes agent and connector only", code="kill.target")
        return EVERY_TENANT if scope == "all" else principal.tenant
