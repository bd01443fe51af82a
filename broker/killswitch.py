"""The kill switch: stops an agent, a connector, a tenant or everything, from the next request on, on all replicas.

It is read from the database with every request, again before a write begins, and while a stream runs, so it needs no
message between replicas and survives a restart. Pulling needs a human with a role that the configuration names, and no
policy answer; the caller writes the record first. Resuming is an ordinary decided action, never by the one that is
stopped, and whoever pulls the switch while that is under way wins. Everything at once is stopped and resumed by people of the operator's tenant only.
"""

from collections.abc import Collection

from broker.clock import Clock, seconds
from broker.errors import BadRequest, Conflict, Denied, StoreUnavailable
from broker.model import PartyKind, Principal, Session
from broker.store import Connection, Store, kills
from broker.store.kills import Kill
from broker.store.rows import EVERY_TENANT

POLL_SECONDS = 1.0
"""How long something under way goes on at most after it was stopped, as long as anything passes."""


class KillSwitch:
    """Pulls, resumes and reads the switches."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        roles: Collection[str],
        roles_for_all: Collection[str] = (),
        operator_tenant: str = "default",
    ) -> None:
        """``roles`` may pull inside their tenant; ``roles_for_all`` of ``operator_tenant`` may also stop every tenant."""
        self._store = store
        self._clock = clock
        self._roles = frozenset(roles) | frozenset(roles_for_all)
        self._roles_for_all = frozenset(roles_for_all)
        self._operator_tenant = operator_tenant

    def check(self, principal: Principal, scope: str, target: str) -> None:
        """Say whether ``principal`` may pull this switch.

        Raises ``Denied`` (``kill.role``) for anybody but a human with a role for it, (``tenant.not_operator``) for a
        person of another tenant who would stop everything, and ``BadRequest`` for a wrong scope.
        """
        _check_form(scope, target)
        self._check_person(principal, self._roles)
        if scope == "all":
            self._check_all(principal)

    async def pull(self, principal: Principal, scope: str, target: str, reason: str) -> bool:
        """Stop ``target`` (a party id, a connector; empty for ``tenant`` and ``all``); True if it was running until now.

        Raises as ``check`` does, and ``StoreUnavailable`` (``kill.not_pulled``).
        """
        self.check(principal, scope, target)
        kill = Kill(_tenant(principal, scope), scope, target, principal.acting.id, seconds(self._clock), reason)
        try:
            return await self._store.write(lambda c: kills.pull(c, kill))
        except StoreUnavailable:
            raise StoreUnavailable(
                "the switch could not be pulled: what it should stop still runs",
                code="kill.not_pulled",
                remedy="pull it again; if that fails, too, stop the agent or the gate where it runs",
                retry_after=1.0,
            ) from None

    async def since(self, principal: Principal, scope: str, target: str, at: int) -> bool | None:
        """What came of a pull that was put on record at ``at``: still stopped, or let go since; none if it never took hold.

        While it stands, whoever is about to let it go loses, as by any pull.
        """
        tenant = _tenant(principal, scope)

        def stands(connection: Connection) -> tuple[bool, int] | None:
            kills.resuming(connection, tenant, scope, target, "")
            return kills.state(connection, tenant, scope, target)

        found = await self._store.write(stands)
        if found is None or not (found[0] or found[1] >= at):
            return None
        return found[0]

    async def stands(self, principal: Principal, scope: str, target: str) -> bool:
        """Whether it is pulled now."""
        tenant = _tenant(principal, scope)
        found = await self._store.read(lambda c: kills.state(c, tenant, scope, target))
        return found is not None and found[0]

    def check_resume(self, principal: Principal, scope: str, target: str) -> None:
        """Say whether ``principal`` may let this switch go, where policy permits it.

        Raises ``Denied`` (``kill.own``) where the principal, or whom it acts for, is the stopped one, and as ``check``
        does for the scope ``all``.
        """
        _check_form(scope, target)
        if scope == "agent" and any(party.id == target for party in principal.parties):
            raise Denied("the one that is stopped cannot resume itself", code="kill.own", remedy="ask somebody else")
        if scope == "all":
            self._check_all(principal)

    async def resuming(self, principal: Principal, scope: str, target: str, mark: str) -> bool:
        """Begin to let ``target`` go under ``mark``, which ``resume`` wants, too; False where nobody pulled it.

        Whoever pulls the switch before that wins. Raises as ``check_resume`` does.
        """
        self.check_resume(principal, scope, target)
        tenant = _tenant(principal, scope)
        return await self._store.write(lambda c: kills.resuming(c, tenant, scope, target, mark))

    async def resume(self, principal: Principal, scope: str, target: str, mark: str) -> bool:
        """Let ``target`` run again, after policy permitted it and the log has it; True if it was stopped until now.

        Raises as ``check_resume`` does, and ``Conflict`` (``kill.pulled_again``).
        """
        self.check_resume(principal, scope, target)
        tenant, by, now = _tenant(principal, scope), principal.acting.id, seconds(self._clock)

        def change(connection: Connection) -> tuple[bool, tuple[bool, int] | None]:
            changed = kills.resume(connection, tenant, scope, target, mark, by=by, now_s=now)
            return changed, kills.state(connection, tenant, scope, target)

        changed, stands = await self._store.write(change)
        if not changed and stands is not None and stands[0]:
            raise Conflict(
                "somebody pulled the switch, or began to let it go, meanwhile: it stays pulled",
                code="kill.pulled_again",
                remedy="look who stopped it and why, then resume again",
            )
        return changed

    async def is_killed(self, principal: Principal, connector: str, session: Session | None = None) -> bool:
        """Say whether a party of this request, the opener of its session, its connector or its tenant is stopped now."""
        parties = (principal.acting.id, principal.subject.id, session.opened_by if session else "")
        return await self._store.glance(lambda c: kills.is_killed(c, principal.tenant, parties, connector))

    def watch(self, principal: Principal, connector: str, session: Session | None) -> "Watch":
        """Look again and again while something of this request is under way."""
        return Watch(self, self._clock, (principal, connector, session))

    async def pulled(self, tenant: str) -> tuple[Kill, ...]:
        """Return the switches that stop something of ``tenant`` now."""
        return await self._store.read(lambda c: kills.pulled(c, tenant))

    def check_operator(self, tenant: str) -> None:
        """Raise ``Denied`` (``tenant.not_operator``) for every tenant but the operator's."""
        if tenant != self._operator_tenant:
            raise Denied(
                "what concerns every tenant is decided in the operator's tenant",
                code="tenant.not_operator",
                remedy="ask a person of the tenant that the configuration names in gate.operator_tenant",
            )

    def is_operator(self, principal: Principal) -> bool:
        """Whether a person of the operator's tenant asks, with no agent in between."""
        person = principal.acting.kind is PartyKind.HUMAN and principal.actor is None
        return person and principal.tenant == self._operator_tenant

    def _check_all(self, principal: Principal) -> None:
        self._check_person(principal, self._roles_for_all)
        self.check_operator(principal.tenant)

    @staticmethod
    def _check_person(principal: Principal, roles: frozenset[str]) -> None:
        if principal.acting.kind is not PartyKind.HUMAN or not principal.acting.roles & roles:
            raise Denied(
                "the kill switch needs a person with a role for it",
                code="kill.role",
                remedy="ask somebody who holds one of the roles that the configuration names",
            )


class Watch:
    """One look a second at most, from a second after it was made."""

    def __init__(self, kills_: KillSwitch, clock: Clock, about: tuple[Principal, str, Session | None]) -> None:
        """``about`` is what ``KillSwitch.is_killed`` is asked."""
        self._kills = kills_
        self._clock = clock
        self._about = about
        self._next = clock.monotonic() + POLL_SECONDS

    async def check(self) -> None:
        """Raise ``Denied`` (``kill.pulled``) where what is under way must end.

        Raises ``StoreUnavailable``, too: an unreadable switch is not an open one.
        """
        now = self._clock.monotonic()
        if now < self._next:
            return
        self._next = now + POLL_SECONDS
        if await self._kills.is_killed(*self._about):
            raise Denied(
                "a person stopped this while it was under way",
                code="kill.pulled",
                remedy="wait until a person resumes; wicketgate agents list shows what is stopped",
            )


def _tenant(principal: Principal, scope: str) -> str:
    """Whose row it is."""
    return EVERY_TENANT if scope == "all" else principal.tenant


def _check_form(scope: str, target: str) -> None:
    """Check scope and target together."""
    if scope not in kills.SCOPES:
        raise BadRequest(f"field `scope` must be one of {', '.join(kills.SCOPES)}", code="kill.scope")
    if bool(target) != (scope in ("agent", "connector")):
        raise BadRequest("field `target` belongs to the scopes agent and connector only", code="kill.target")
