"""The gate's acts about the policy in force, as `acts.py` runs them: what there is, what it says, what it proves.

Nothing here changes what is in force: that is `acts.py`. A bundle's own text names every tenant, so it is told in the
operator's tenant only; that a revision is in force, and its digest, is told to all.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any, TypeVar

from broker.errors import BadRequest, NotFound
from broker.killswitch import KillSwitch
from broker.model import Json, Principal
from broker.policy.activations import Activation, ActivationRows
from broker.policy.annotations import rules_of
from broker.policy.bundle import Bundle, revision_number
from broker.policy.compare import compare, readable
from broker.policy.engine import NOT_LOADED, unavailable
from broker.policy.pdp import PolicyDecisionPoint
from broker.policy.trial import Trial, Trying
from broker.telemetry import Telemetry

Act = Callable[[Principal, Mapping[str, Any]], Awaitable[Json]]
Kept = TypeVar("Kept")
Asks = Callable[[Principal, Bundle], Mapping[str, Mapping[str, Json]]]
"""Inputs by name that a trial answers: who could still change the policy under a bundle."""
TRIAL_SECONDS = 300.0
"""From when it begins; what was not reached by then is called so."""
LOOK_SECONDS = 20.0
"""How long one look waits for the end of a trial, which runs on without it."""
TRIALS_KEPT, BUNDLES_KEPT = 8, 4
AT_ONCE = 2
"""Trials that run at the same time in one process; the next ones wait."""
TEXT_CHARACTERS = 400_000


class PolicyActs:
    """Acts by name; ``acts.Acts`` runs them beside its own."""

    def __init__(
        self,
        *,
        policy: PolicyDecisionPoint,
        bundles: ActivationRows,
        kills: KillSwitch,
        asks: Asks,
        telemetry: Telemetry,
    ) -> None:
        """``kills`` knows the operator's tenant."""
        self._crashed = partial(telemetry.crash, "policy.trial")
        self._policy = policy
        self._bundles = bundles
        self._kills = kills
        self._asks = asks
        self._opened: OrderedDict[str, Bundle] = OrderedDict()
        self._trials: OrderedDict[str, Trying] = OrderedDict()
        self._places = asyncio.Semaphore(AT_ONCE)
        self.acts: Mapping[str, Act] = {"gate.policy.read": self._read, "gate.policy.test": self._test}

    async def aclose(self) -> None:
        """Stop what still runs."""
        for trying in self._trials.values():
            await trying.aclose()

    async def bundle(self, digest: str) -> Bundle:
        """A kept bundle, verified; empty is the active one. Raises ``NotFound``, ``BadRequest``, ``PolicyUnavailable``."""
        active = self._policy.active
        if not digest and active is None:
            raise unavailable(NOT_LOADED, "no verified policy bundle is loaded")
        if active is not None and digest in {"", active.digest}:
            return active
        found = self._opened.get(digest)
        if found is None:
            archive, signature = await self._bundles.bundle(digest)
            found = await asyncio.to_thread(self._policy.verify, archive, signature)
            if found.digest != digest:
                raise BadRequest("the kept bundle is not the one that was staged", code="policy.untrusted")
            _keep(self._opened, digest, found, BUNDLES_KEPT)
        return found

    async def _read(self, principal: Principal, said: Mapping[str, Any]) -> Json:
        match said["what"]:
            case "revision":
                return await self._revision(principal, said["digest"])
            case "file":
                return await self._file(principal, said["digest"], said["path"])
            case "difference":
                return await self._difference(principal, said["older"], said["digest"])
            case _:
                return await self._page(principal)

    async def _page(self, principal: Principal) -> Json:
        """What is active, was, and is kept; who did it is told to people of the operator's tenant."""
        active, named = self._policy.active, self._kills.is_operator(principal)
        history = await self._bundles.history()
        return {
            "active": {"digest": active.digest, "revision": active.revision} if active else None,
            "engine": self._policy.engine_label,
            "history": [_told(one, named=named) for one in history],
            "kept": [asdict(one) for one in await self._bundles.kept()],
            "newest": max((revision_number(one.revision) for one in history), default=-1),
            "problem": self._policy.problem,
            "operator": named,
        }

    async def _revision(self, principal: Principal, digest: str) -> Json:
        """One bundle: what it states of itself, its files by size, its rules in their authors' words."""
        self._kills.check_operator(principal.tenant)
        bundle = await self.bundle(digest)
        files = await asyncio.to_thread(readable, bundle)
        rules = [
            {
                "rule": one.name,
                "file": one.file,
                "line": one.line,
                "title": one.title,
                "description": one.description,
                "reasons": list(one.reasons),
                "package": one.is_package,
            }
            for one in rules_of(bundle.content.modules)
            if one.title or one.description
        ]
        return {
            "digest": bundle.digest,
            "revision": bundle.revision,
            "signer": bundle.key_id,
            "manifest": dict(bundle.content.manifest),
            "files": [{"path": path, "characters": len(text)} for path, text in files.items()],
            "rules": rules,
            "goldens": sum(len(_cases(one)) for one in bundle.content.goldens.values()),
            "tests": len(bundle.content.tests),
            **await self._standing(bundle, principal),
        }

    async def _standing(self, bundle: Bundle, principal: Principal) -> dict[str, Json]:
        """Whether it is in force, when it was, and what keeps it from being put there; as the acts would say."""
        active, history = self._policy.active, await self._bundles.history()
        own = [one for one in history if one.digest == bundle.digest]
        newest = max((revision_number(one.revision) for one in history), default=-1)
        named = self._kills.is_operator(principal)
        return {
            "active": active.digest if active else "",
            "history": [_told(one, named=named) for one in own],
            "too_old": not own and revision_number(bundle.revision) <= newest,
            "newest": newest,
        }

    async def _file(self, principal: Principal, digest: str, path: str) -> Json:
        """One file's text; ``more`` characters beyond the bound are left out."""
        self._kills.check_operator(principal.tenant)
        bundle = await self.bundle(digest)
        text = (await asyncio.to_thread(readable, bundle)).get(path)
        if text is None:
            raise NotFound(
                "the bundle has no such file", code="policy.no_file", remedy="take a path from the revision's list"
            )
        return {
            "digest": bundle.digest,
            "revision": bundle.revision,
            "path": path,
            "text": text[:TEXT_CHARACTERS],
            "more": max(0, len(text) - TEXT_CHARACTERS),
        }

    async def _difference(self, principal: Principal, older: str, digest: str) -> Json:
        """What ``digest`` changes of ``older``; each may be empty for the active one."""
        self._kills.check_operator(principal.tenant)
        old, new = await self.bundle(older), await self.bundle(digest)
        found = await asyncio.to_thread(compare, old, new)
        sides = {
            name: {"digest": one.digest, "revision": one.revision} for name, one in (("older", old), ("newer", new))
        }
        return {**sides, **asdict(found)}

    async def _test(self, principal: Principal, said: Mapping[str, Any]) -> Json:
        """The load gate, goldens and unit tests of one bundle: how far they are, or how they ended here before.

        The first who asks begins them; they run on when nobody waits. A bundle never changes, so neither does the end.
        """
        self._kills.check_operator(principal.tenant)
        bundle = await self.bundle(said["digest"])
        trial = await self._tried(principal, bundle)
        return {**asdict(trial), "cases": [asdict(one) for one in trial.cases]}

    async def _tried(self, principal: Principal, bundle: Bundle) -> Trial:
        trying = self._trials.get(bundle.digest)
        if trying is None:
            asks = self._asks(principal, bundle)
            trying = Trying(bundle, seconds=TRIAL_SECONDS, asks=asks, crashed=self._crashed, places=self._places)
            oldest = _keep(self._trials, bundle.digest, trying, TRIALS_KEPT)
            if oldest is not None:
                await oldest.aclose()
        try:
            return await trying.seen(LOOK_SECONDS)
        finally:
            if trying.fell_short and self._trials.get(bundle.digest) is trying:
                del self._trials[bundle.digest]  # the next look begins again


def _told(one: Activation, *, named: bool) -> dict[str, Json]:
    return {
        "seq": one.seq,
        "digest": one.digest,
        "revision": one.revision,
        "kind": one.kind,
        "by": one.by if named else "",
        "at": one.at_ns // 10**9,
    }


def _cases(document: Mapping[str, Json]) -> list[Json]:
    cases: list[Json] = document.get("cases", [])
    return cases


def _keep(kept: OrderedDict[str, Kept], key: str, value: Kept, most: int) -> Kept | None:
    """Remember the latest few; the one that had to go."""
    kept[key] = value
    return kept.popitem(last=False)[1] if len(kept) > most else None
