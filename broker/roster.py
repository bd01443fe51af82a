"""Who acts at this gate: the act ``gate.agents.read``. What is stopped, the list of parties, and everything about one.

Identity and last seen come from the newest record of each party (``store/logusage.py``), so looking costs the agents
nothing; rights come from the active policy's data, budgets from the open sessions, refusals from the log's index.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from broker.clock import Clock, seconds
from broker.errors import BadRequest, NotFound
from broker.killswitch import KillSwitch
from broker.logbook import LogIndex
from broker.model import Json, Principal, Session
from broker.policy.pdp import PolicyDecisionPoint
from broker.records import Records
from broker.sessions import Sessions
from broker.store import Store, logusage, parties
from broker.usage import CATCH_UP_MAX, Usage

SESSIONS_MAX, REFUSALS_MAX = 20, 200
WEEK_DAYS = 7
INTENT_CHARACTERS = 400
_PSEUDONYM = "per_"


class Roster:
    """Looks; changes nothing."""

    def __init__(  # noqa: PLR0913 - the composition root names each part once
        self,
        *,
        store: Store,
        kills: KillSwitch,
        sessions: Sessions,
        records: Records,
        index: LogIndex,
        usage: Usage,
        policy: PolicyDecisionPoint,
        clock: Clock,
    ) -> None:
        self._store = store
        self._kills = kills
        self._sessions = sessions
        self._records = records
        self._index = index
        self._usage = usage
        self._policy = policy
        self._clock = clock
        self.acts: Mapping[str, Callable[[Principal, Mapping[str, Any]], Awaitable[Json]]] = {
            "gate.agents.read": self._read
        }

    async def _read(self, principal: Principal, said: Mapping[str, Any]) -> Json:
        pulled = await self._kills.pulled(principal.tenant)
        stopped: list[Json] = [{"scope": one.scope, "target": one.target, "at": one.pulled_at} for one in pulled]
        match said["what"]:
            case "page":
                return {"stopped": stopped, **await self._page(principal.tenant, said)}
            case "one":
                return {"stopped": stopped, "agent": await self._one(principal.tenant, said["agent"])}
            case _:
                return {"stopped": stopped}

    async def _page(self, tenant: str, said: Mapping[str, Any]) -> dict[str, Json]:
        """Parties, the last seen first."""
        await self._index.catch_up(tenant, CATCH_UP_MAX)
        before, limit = _place(said["after"]), said["limit"]
        found = await self._store.read(lambda c: logusage.page(c, tenant, said["kind"], before, limit))
        after = str(found[limit - 1]["last_seq"]) if len(found) > limit else ""
        return {"agents": [_identity(one) for one in found[:limit]], "after": after}

    async def _one(self, tenant: str, agent: str) -> dict[str, Json]:
        """Everything about one; ``agent`` is a party's id or its pseudonym."""
        await self._index.catch_up(tenant, CATCH_UP_MAX)
        who = agent if agent.startswith(_PSEUDONYM) else self._records.ref(tenant, "per", agent)
        found = (await self._store.read(lambda c: logusage.some(c, tenant, [who]))).get(who)
        if found is None:
            raise NotFound(
                "nobody of that name is on record here",
                code="agent.not_found",
                remedy="wicketgate agents list, or the console's page of agents, shows who is",
            )
        name, roles = found["name"], found["roles"].split()
        token = await self._store.read(lambda c: parties.key_of(c, tenant, name)) if name else None
        return {
            **_identity(found),
            "key": token[0] if token else "",
            "token_at": token[1] if token else 0,
            "grants": self._grants(roles),
            "rooms": await self._usage.rooms(tenant, name, found["kind"], who) if name else [],
            "sessions": await self._open_sessions(tenant, name) if name else [],
            "week": dict(await self._usage.of(tenant, who, WEEK_DAYS)),
            "today": dict(await self._usage.of(tenant, who, 1)),
            "refusals": await self._refusals(tenant, who),
        }

    def _grants(self, roles: Sequence[str]) -> list[dict[str, Json]]:
        """What the roles may ask for, as the active policy's data says, by action."""
        active = self._policy.active
        granted: Mapping[str, Mapping[str, Any]] = active.content.config.get("grants", {}) if active else {}
        found: dict[str, dict[str, set[str]]] = {}
        for role in roles:
            for action, where in granted.get(role, {}).items():
                here = found.setdefault(action, {"environments": set(), "resource_types": set(), "roles": set()})
                here["environments"] |= set(where["environments"])
                here["resource_types"] |= set(where["resource_types"])
                here["roles"].add(role)
        return [
            {
                "action": action,
                "title": declared.title if (declared := self._policy.catalog.find(action)) else "",
                "connector": action.partition(".")[0],
                "effect": declared.effect.value if declared else "",
                **{name: sorted(values) for name, values in where.items()},
            }
            for action, where in sorted(found.items())
        ]

    async def _open_sessions(self, tenant: str, name: str) -> list[dict[str, Json]]:
        """Open sessions that serve the party, with what is left of their budgets."""
        found = await self._sessions.open_of(tenant, name, SESSIONS_MAX)
        return [_session(one, await self._sessions.used(one)) for one in found]

    async def _refusals(self, tenant: str, who: str) -> list[dict[str, Json]]:
        """Codes of its refusals in the last week, the most frequent first; of the newest ``REFUSALS_MAX`` at most."""
        said: dict[str, Any] = dict.fromkeys(("action", "resource", "effect", "code", "session", "incident"), "")
        said |= {"principal": who, "kinds": ["refusal"], "tier": -1, "own": True, "before": -1, "after": -1}
        said |= {"since": max(1, seconds(self._clock) - WEEK_DAYS * 86_400), "until": 0, "limit": REFUSALS_MAX}
        found: dict[str, dict[str, Any]] = {}
        for line in (await self._index.search(tenant, said))["lines"]:
            codes = line["codes"] if line["who"] == who else []
            # A denial is named by policy's first reason, what was permitted and failed after by the error.
            for code in codes[:1] if line["effect"] == "deny" else codes[-1:]:
                here = found.setdefault(
                    code, {"code": code, "count": 0, "last_at": line["at"], "last_seq": line["seq"]}
                )
                here["count"] += 1
        return sorted(found.values(), key=lambda one: (-one["count"], one["code"]))


def _identity(found: Mapping[str, Any]) -> dict[str, Json]:
    profile, _, subject = found["name"].partition(":")
    return {
        "who": found["who"],
        "name": found["name"],
        "profile": profile,
        "subject": subject,
        "kind": found["kind"],
        "issuer": found["issuer"],
        "roles": found["roles"].split(),
        "first_at": found["first_at"],
        "last_at": found["last_at"],
        "last_seq": found["last_seq"],
    }


def _session(one: Session, used: Mapping[str, int]) -> dict[str, Json]:
    said = one.intent[0].text if one.intent else ""
    return {
        "session": one.id,
        "opened_by": one.opened_by,
        "opened_at": one.opened_at,
        "expires_at": one.expires_at,
        "incident": one.incident,
        "tainted": one.tainted,
        "intent": said[:INTENT_CHARACTERS],
        "intent_left_out": max(0, len(said) - INTENT_CHARACTERS) + sum(len(more.text) for more in one.intent[1:]),
        "budgets": [
            {"name": name, "used": used.get(name, 0), "of": bound} for name, bound in sorted(one.budgets.items())
        ],
    }


def _place(after: str) -> int:
    """Where a page goes on; raises ``BadRequest``."""
    if not after:
        return -1
    if not (after.isascii() and after.isdigit() and len(after) <= 15):
        raise BadRequest("field `after` is not a place in this list", code="request.after", remedy="leave `after` out")
    return int(after)
