"""What somebody may do, asked by whoever enforces the answer elsewhere: the acts ``gate.decision.*``.

Each answer is the active policy's, on what the gate knows at this moment: roles as last seen, kill switch, usage,
break-glass, inventory. Nothing is executed, counted against a limit, reserved or approved by it. What the asker says of
somebody's roles or a resource's labels counts only where ``data.config.authzen`` names the property.

The words are those of the OpenID AuthZEN Authorization API 1.0; duties are told as its Obligations profile, draft 1
(2026-07-03), has them.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from broker import patience
from broker.catalog import Catalog
from broker.clock import Clock, seconds
from broker.connectors.base import Connector
from broker.errors import BadRequest, BrokerError, Denied, ObligationFailed, PolicyUnavailable
from broker.fair import Turns
from broker.logbook import LogIndex
from broker.model import Decision, Json, Party, PartyKind, Principal, RequireApproval, Resource
from broker.obligations import check_bounds
from broker.policy.engine import BAD_INPUT, NOT_LOADED, unavailable
from broker.policy.pdp import PolicyDecisionPoint
from broker.reading import GATE
from broker.simulating import Supposed, duties, suppose, supposed_session
from broker.store import Store, logusage, parties
from broker.store.gather import gather

Act = Callable[[Principal, Mapping[str, Any]], Awaitable[Json]]
Inventory = Callable[[str], Sequence[Resource]]
"""Everything that a tenant sees."""
LOOKED_AT = 200
"""Candidates that one search decides about; its token leads to the next ones."""
AT_ONCE = 2
"""Searches and lists of questions that are answered at the same time in one process; the next ones wait, single ones do not."""
WAITING_MAX = 32
"""Of these next ones, of all tenants; few beside the requests that may be outside of the lanes (``web.outside_max``)."""
WAITING_SECONDS = 30.0
"""And for how long: well within a request's own deadline (``web.request_seconds_max``), which begins before."""
AT_A_SEARCH_MAX = 1_000
"""Records that a search for subjects takes up into the index first."""
REASON = "asked by an enforcement point"
"""What whoever really asks will say; that, and the session in which they do, is taken for granted here."""
CUSTOM = "custom"
"""The type of our duties in the Obligations profile: it has none of its own for limits, redaction, bounds or caps."""
_WHOLE: Mapping[str, tuple[str, ...]] = {"subject": ("type", "id"), "action": ("name",), "resource": ("type", "id")}
_STOPS_AT: Mapping[str, bool | None] = {
    "execute_all": None,
    "deny_on_first_deny": False,
    "permit_on_first_permit": True,
}


@dataclass(frozen=True, slots=True)
class Words:
    """``data.config.authzen``: how the askers' words are read; what stands nowhere in it is this policy's own word."""

    subjects: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    resources: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    actions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def kind(self, type_: str) -> PartyKind | None:
        """What kind of party a type of subject is."""
        named = self.subjects.get(type_, {}).get("kind", type_)
        return next((one for one in PartyKind if one.value == named), None)

    def prefix(self, type_: str) -> str:
        """What stands before the ids of a type of subject to make party ids."""
        return self.subjects.get(type_, {}).get("prefix", "")

    def said_roles(self, type_: str, properties: Mapping[str, Json]) -> frozenset[str]:
        """Roles in the one property that policy believes the askers about."""
        said = properties.get(self.subjects.get(type_, {}).get("roles", ""))
        found = said if isinstance(said, list) else [said]
        return frozenset(one for one in found if isinstance(one, str))

    def action(self, name: str, type_: str) -> str:
        """The catalog's name of an action on a type of resource."""
        return self.actions.get(name, {}).get(type_, name)

    def names(self, catalog: Catalog, type_: str) -> list[str]:
        """The askers' names of every action on a type of resource, sorted."""
        known = {there[type_]: name for name, there in self.actions.items() if type_ in there}
        declared = (one.name for one in catalog.actions() if type_ in one.resource_types)
        return sorted(known.get(name, name) for name in declared)


@dataclass(frozen=True, slots=True)
class Verdict:
    """One answer: what ``decision`` says to a PEP, and its ``context``."""

    yes: bool
    context: Mapping[str, Json]

    def body(self) -> dict[str, Json]:
        """As AuthZEN has it."""
        return {"decision": self.yes, "context": dict(self.context)}


class Evaluating:
    """Answers ``gate.decision.evaluate`` and ``gate.decision.search``, and ``own`` and ``own_search`` about the asker itself."""

    def __init__(  # noqa: PLR0913 - the composition root names each part once
        self,
        *,
        policy: PolicyDecisionPoint,
        store: Store,
        index: LogIndex,
        inventory: Inventory,
        connectors: Callable[[], Mapping[str, Connector]],
        clock: Clock,
    ) -> None:
        """``connectors`` say whether the gate itself would do it, and where the data would go then."""
        self._policy = policy
        self._store = store
        self._index = index
        self._inventory = inventory
        self._connectors = connectors
        self._clock = clock
        self.turns = Turns("decisions", places=AT_ONCE, waiting_max=WAITING_MAX, seconds=WAITING_SECONDS)
        self.acts: Mapping[str, Act] = {
            "gate.decision.evaluate": self._evaluate,
            "gate.decision.search": self._search,
            "gate.decision.own": self._own,
            "gate.decision.own_search": self._own_search,
        }

    def is_own(self, principal: Principal, asked: Mapping[str, Any]) -> bool:
        """Whether a question is about the asker itself: by type and id together, as policy's words read them."""
        subject = asked.get("subject", {})
        if "type" not in subject or "id" not in subject:
            return False
        who = _party(self._words(), subject)
        return who == (principal.acting.id, principal.acting.kind)

    def act(self, action: str, principal: Principal, arguments: Mapping[str, Any]) -> str:
        """The act that answers: ``action``, or about the asker alone that of its own, as the active catalogue has it.

        A bundle from before ``gate.decision.own_search`` lets ``gate.decision.own`` search.
        """
        about = [one for one in arguments["asked"] if "problem" not in one]
        if not about or not all(self.is_own(principal, one) for one in about):
            return action
        if "find" not in arguments:
            return "gate.decision.own"
        if self._policy.catalog.find("gate.decision.own_search") is not None:
            return "gate.decision.own_search"
        own = self._policy.catalog.find("gate.decision.own")
        return own.name if own is not None and "find" in own.schema["properties"] else action

    async def _own(self, principal: Principal, said: Mapping[str, Any]) -> Json:
        """What the asker itself may do, with all that its token says; older bundles' form of it also searches."""
        if said.get("find"):
            return await self._own_search(principal, said)
        self._only_own(principal, said["asked"])
        return await self._evaluate(principal, said)

    async def _own_search(self, principal: Principal, said: Mapping[str, Any]) -> Json:
        """Which actions the asker itself may take on something, or on what it may take one."""
        self._only_own(principal, said["asked"], said["find"])
        return await self._search(principal, said)

    def _only_own(self, principal: Principal, questions: Sequence[Mapping[str, Any]], find: str = "") -> None:
        """Raise ``Denied`` where a whole question is about somebody else."""
        if any(not _lacking(asked, find) and not self.is_own(principal, asked) for asked in questions):
            raise Denied(
                "this act answers about the one who asks",
                code="decision.not_own",
                remedy="ask with gate.decision.evaluate about others; it needs a grant of its own",
            )

    async def _evaluate(self, principal: Principal, said: Mapping[str, Any]) -> Json:
        """Answers in the order of the questions, up to the one that the semantic ends at."""
        if len(said["asked"]) == 1:
            return await self._answers(principal, said)
        async with self.turns.of(principal.tenant):
            patience.check()
            return await self._answers(principal, said)

    async def _answers(self, principal: Principal, said: Mapping[str, Any]) -> Json:
        stop, properties = _STOPS_AT[said["semantic"]], said["properties"]
        answers: list[Json] = []
        for number, asked in enumerate(said["asked"]):
            given = properties[number] if number < len(properties) else {}
            verdict = await self._asked(principal, asked, given, said.get("obligations"))
            answers.append(verdict.body())
            if verdict.yes is stop:
                break
        return {"evaluations": answers}

    async def _asked(
        self, principal: Principal, asked: Mapping[str, Any], given: Mapping[str, Any], able: Sequence[str] | None
    ) -> Verdict:
        """One question; one that is not whole is answered with no."""
        lacking = _lacking(asked)
        if problem := asked.get("problem") or (f"field `{lacking}` is required" if lacking else ""):
            return Verdict(yes=False, context={"error": {"status": 400, "message": problem}})
        return await self._decided(principal, asked, given, able, exact=True)

    async def _search(self, principal: Principal, said: Mapping[str, Any]) -> Json:
        """Those of the candidates about which the answer is yes. Raises ``BadRequest`` for a search that is not whole."""
        find = said["find"]
        if len(said["asked"]) != 1:  # the active bundle's own form may let more come
            raise _unfit("field `asked`: a search is one question", "send one search at a time")
        [asked] = said["asked"]
        if lacking := _lacking(asked, find):
            raise _unfit(f"field `{lacking}` is required", "say all but what is looked for")
        async with self.turns.of(principal.tenant):
            patience.check()
            return await self._page(principal, find, asked, said)

    async def _page(self, principal: Principal, find: str, asked: Mapping[str, Any], said: Mapping[str, Any]) -> Json:
        """One page of a search; at most ``LOOKED_AT`` candidates are looked at."""
        given = said["properties"][0] if said["properties"] else {}
        mark = _mark(find, asked)
        after = _after(said["after"], mark)
        results: list[Json] = []
        candidates = await self._candidates(principal, find, asked, given, after)
        place, more = "", len(candidates) == LOOKED_AT
        for number, (here, entity, properties) in enumerate(candidates, start=1):
            place, question = here, {**asked, find: entity}
            # Without an action's arguments: the answer is whether there are any with which it may be done.
            stated = {**given, find: properties}
            verdict = await self._decided(principal, question, stated, said.get("obligations"), exact=find != "action")
            if verdict.yes:
                duty = {"obligations": verdict.context["obligations"]} if "obligations" in verdict.context else {}
                results.append({**entity, **({"context": duty} if duty else {})})
            if len(results) >= said["limit"]:
                more = more or number < len(candidates)
                break
        token = f"{place.encode().hex()}-{mark}" if more else ""
        return {"results": results, "page": {"next_token": token, "count": len(results)}}

    async def _candidates(
        self, principal: Principal, find: str, asked: Mapping[str, Any], given: Mapping[str, Any], after: str
    ) -> Sequence[tuple[str, dict[str, Json], Mapping[str, Json]]]:
        """Who or what may be the answer, in a stable order: its place there, its name, and what is said of it."""
        words = self._words()
        match find:
            case "subject":
                type_ = asked["subject"]["type"]
                return await self._subjects(principal, words, type_, after)
            case "resource":
                type_ = asked["resource"]["type"]
                stated = given.get("resource", {})
                env = self._env(words, type_, stated)
                known = [one for one in self._inventory(principal.tenant) if one.type == type_ and env in ("", one.env)]
                found = [
                    (f"{one.id}\n{one.env}", {"type": type_, "id": one.id}, {**stated, "env": one.env}) for one in known
                ]
            case _:
                names = words.names(self._policy.catalog, asked["resource"]["type"])
                found = [(name, {"name": name}, {}) for name in names]
        return sorted((one for one in found if one[0] > after), key=lambda one: one[0])[:LOOKED_AT]

    async def _subjects(
        self, principal: Principal, words: Words, type_: str, after: str
    ) -> Sequence[tuple[str, dict[str, Json], Mapping[str, Json]]]:
        """Parties of the asker's tenant that are on record."""
        kind, prefix, tenant = words.kind(type_), words.prefix(type_), principal.tenant
        if kind is None:
            return []
        await self._index.catch_up(tenant, AT_A_SEARCH_MAX)
        rows = await self._store.read(lambda c: logusage.of_kind(c, tenant, kind.value, after, LOOKED_AT))
        # Those of another prefix stay as candidates without an id: a page's end is told by their number.
        return [(row["who"], {"type": type_, "id": _without(row["name"], prefix)}, {}) for row in rows]

    async def _decided(
        self,
        principal: Principal,
        asked: Mapping[str, Any],
        given: Mapping[str, Any],
        able: Sequence[str] | None,
        *,
        exact: bool,
    ) -> Verdict:
        """Policy's answer; ``exact``: the action's arguments are whole, and what is wrong with them is a no."""
        words, catalog = self._words(), self._policy.catalog
        who = await self._who(principal, words, asked["subject"], given.get("subject", {}))
        if who is None:
            return _no("subject.unknown", "give a type of subject that data.config.authzen knows, and the subject's id")
        resource = self._where(principal.tenant, words, asked["resource"], given.get("resource", {}))
        name = words.action(asked["action"]["name"], resource.type)
        declared, arguments = catalog.find(name), given.get("action", {})
        if declared is not None:
            arguments = {key: one for key, one in arguments.items() if key in declared.schema["properties"]}
        try:
            arguments = catalog.complete(name, resource, arguments)
        except BadRequest as error:
            if exact:
                return _no(error.error_code, error.error_remedy, error.detail)
        session = supposed_session(who, seconds(self._clock))
        supposed = suppose(catalog, who, name, resource, arguments, session=session, reason=REASON)
        try:
            decision = await self._policy.decide(await self._sheet(supposed))
        except (BadRequest, PolicyUnavailable) as error:
            if isinstance(error, PolicyUnavailable) and error.error_code != BAD_INPUT:
                raise
            return _no(error.error_code, error.error_remedy, error.detail)
        return self._verdict(supposed, decision, able, exact=exact)

    async def _sheet(self, supposed: Supposed) -> dict[str, Any]:
        """Policy's input, with the gate's own state about who is asked about."""
        who, now = supposed.principal, seconds(self._clock)
        declared = supposed.action
        state = await self._store.glance(
            lambda c: gather(
                c,
                tenant=who.tenant,
                session_id="",
                acting=who.acting.id,
                subject=who.subject.id,
                connector=declared.connector if declared else "",
                action_id="",
                now_s=now,
            )
        )
        return supposed.input(
            self._connectors(), killed=state.killed, usage=state.usage, breakglass=state.breakglass, now=now
        )

    def _verdict(self, supposed: Supposed, decision: Decision, able: Sequence[str] | None, *, exact: bool) -> Verdict:
        """What a PEP is told. An approval is asked for and given at the gate alone, so until then it is a no.

        What the gate does itself it also discharges itself; elsewhere the duties are the PEP's.
        """
        context: dict[str, Json] = {
            "id": decision.id,
            "policy_revision": decision.policy_revision,
            "tier": decision.tier,
            "reasons": [{"code": one.code, "remedy": one.remedy} for one in decision.reasons],
        }
        if not decision.permitted:
            return Verdict(yes=False, context=context)
        if any(isinstance(one, RequireApproval) for one in decision.obligations):
            return Verdict(yes=False, context=context)
        if exact:
            try:
                check_bounds(decision, supposed.request, supposed.endpoint(self._connectors()))
            except ObligationFailed as broken:
                return Verdict(yes=False, context={**context, "reasons": [_reason(broken)]})
        if supposed.connector(self._connectors()) is not None:
            return Verdict(yes=True, context=context)
        told = _told(decision)
        if told and able is not None and CUSTOM not in able:
            reason = {"code": "obligation.unsupported", "remedy": "discharge duties of the type `custom`, and say so"}
            return Verdict(yes=False, context={**context, "reasons": [reason]})
        return Verdict(yes=True, context={**context, "obligations": told})

    def _words(self) -> Words:
        active = self._policy.active
        if active is None:
            raise unavailable(NOT_LOADED, "no verified policy bundle is loaded")
        return Words(**active.content.config.get("authzen", {}))

    async def _who(
        self, principal: Principal, words: Words, subject: Mapping[str, str], given: Mapping[str, Json]
    ) -> Principal | None:
        """The asker as its token says, or somebody of its tenant with the roles last seen and those that are believed."""
        party, kind = _party(words, subject)
        if kind is None or not subject["id"] or "\x00" in party:
            return None
        if (party, kind) == (principal.acting.id, principal.acting.kind):
            return principal
        type_, tenant = subject["type"], principal.tenant
        known = await self._store.glance(lambda c: parties.roles_of(c, tenant, [party]))
        roles = known.get(party, frozenset()) | words.said_roles(type_, given)
        return Principal(
            tenant=tenant,
            subject=Party(party, kind, roles),
            issuer=principal.issuer,
            expires_at=principal.expires_at,
        )

    def _env(self, words: Words, type_: str, given: Mapping[str, Json]) -> str:
        """The environment that is meant; empty where none is said."""
        said = given.get("env") or words.resources.get(type_, {}).get("env", "")
        return said if isinstance(said, str) else ""

    def _where(self, tenant: str, words: Words, resource: Mapping[str, str], given: Mapping[str, Json]) -> Resource:
        """The inventory's entry, with the labels that the asker is believed about; where two fit, none does."""
        type_, id_ = resource["type"], resource["id"]
        env = self._env(words, type_, given)
        if (type_, id_) == (GATE.type, GATE.id):
            return GATE
        found = [one for one in self._inventory(tenant) if (one.type, one.id) == (type_, id_) and env in ("", one.env)]
        if len(found) != 1:
            return Resource(type_, id_, env)
        [known] = found
        believed = words.resources.get(type_, {}).get("labels", ())
        labels = {name: one for name in believed if isinstance(one := given.get(name), str)}
        return Resource(known.type, known.id, known.env, known.region, {**known.labels, **labels})


def _party(words: Words, subject: Mapping[str, str]) -> tuple[str, PartyKind | None]:
    """Whom a type and an id name: the party's id and kind."""
    return words.prefix(subject["type"]) + subject["id"], words.kind(subject["type"])


def _lacking(asked: Mapping[str, Any], find: str = "") -> str:
    """The first member that a question lacks, empty where it is whole; of what a search looks for the type alone is said."""
    for part, whole in _WHOLE.items():
        members = whole if part != find else ("type",) if "type" in whole else ()
        if members and part not in asked:
            return part
        for member in members:
            if member not in asked[part]:
                return f"{part}.{member}"
    return ""


def _unfit(detail: str, remedy: str) -> BadRequest:
    return BadRequest(detail, code="request.field", remedy=remedy)


def _told(decision: Decision) -> list[Json]:
    """Duties as the Obligations profile has them."""
    return [
        {"type": CUSTOM, "id": f"{decision.id}.{number}", "vendor": "wicketgate", **duty}
        for number, duty in enumerate(duties(decision))
        if isinstance(duty, dict)
    ]


def _no(code: str, remedy: str, message: str = "") -> Verdict:
    told: dict[str, Json] = {"reasons": [{"code": code, "remedy": remedy}]}
    return Verdict(yes=False, context={**told, **({"message": message} if message else {})})


def _reason(error: BrokerError) -> dict[str, Json]:
    return {"code": error.error_code, "remedy": error.error_remedy}


def _without(name: str, prefix: str) -> str:
    """A party's id as the askers know it; empty for one that they have no word for."""
    return name.removeprefix(prefix) if name.startswith(prefix) else ""


def _mark(find: str, asked: Mapping[str, Json]) -> str:
    """What a page's token belongs to."""
    return hashlib.sha256(orjson.dumps([find, asked], option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def _after(token: str, mark: str) -> str:
    """The place that a page's token leads to; raises ``BadRequest`` for one of another search."""
    if not token:
        return ""
    place, _, of = token.partition("-")
    try:
        after = bytes.fromhex(place).decode()
    except ValueError:
        after = "\x00"
    if of != mark or "\x00" in after:
        raise BadRequest(
            "field `page.token` belongs to another search",
            code="request.page_token",
            remedy="send the token with the search that gave it, or leave `page` out",
        )
    return after
