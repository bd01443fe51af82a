"""Git repositories: history, commits, differences, files, blame, and the commit that takes a commit back.

Reads go to a private clone that is fetched anew first; a repository that cannot be fetched gives no answer rather than an
old one. ``git.change.revert`` makes the revert in a work tree of its own and pushes it, never by force. A rejected push is
fetched, made again on the new head and pushed again, as long as it is the same change (``git patch-id``) as the one that
was planned; a conflict, a refusal or a different change ends it with no effect. The commit carries the trailers
``Wicketgate-Action`` and ``Wicketgate-Seal`` (``seal.py``), by which a repeated request and ``status_of`` know it.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson
from pydantic import with_config

from broker.catalog import Action
from broker.clock import Clock, seconds
from broker.connectors import git_reads
from broker.connectors.base import STRICT, EffectStatus
from broker.connectors.git_clone import Clone, CloneSettings
from broker.connectors.git_revert import Revert, prepare, push_revert
from broker.connectors.seal import Seal
from broker.connectors.server import credential_headers
from broker.egress import Egress
from broker.errors import BadRequest, BrokerError, Conflict, NotFound, UpstreamFailed
from broker.model import ActionRequest, Grant, Json, Plan, Resource, Result, ResultStatus


@with_config(STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class GitRepositorySettings:
    """One repository: ``url`` is https, or a folder of this machine; ``id`` is the resource's id, or ``environment/id``."""

    id: str
    url: str
    branches: tuple[str, ...] = ("main",)
    """Branches that may be read; the first is meant where none is named."""
    writable: tuple[str, ...] = ()
    """Branches that a revert may be pushed to."""
    region: str = ""
    credential: Literal["none", "bearer", "basic", "header"] = "none"
    credential_file: str = ""
    credential_header: str = ""
    allow_networks: tuple[str, ...] = ()
    ca_file: str = ""


@with_config(STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class GitSettings:
    """The repositories and what one request may ask of them."""

    name: str
    repositories: tuple[GitRepositorySettings, ...]
    timeout_seconds: float = 30.0
    fresh_seconds: float = 5.0
    """A clone that was fetched so recently answers reads as it is."""
    push_attempts: int = 8
    settle_seconds: float = 300.0
    """How long a push that broke off may still arrive."""
    bytes_max: int = 8_388_608
    """What one git command may print."""
    window_seconds_max: int = 2_592_000
    commits_max: int = 200
    paths_max: int = 100
    diff_bytes_max: int = 262_144
    file_bytes_max: int = 262_144
    lines_max: int = 1000


class GitConnector:
    """The adapter; one instance for all repositories of one configuration."""

    def __init__(self, settings: GitSettings, egress: Egress, clock: Clock, seal: Seal) -> None:
        """Check the settings; raises ``BadRequest`` naming the field. ``seal`` marks the gate's own commits."""
        self.name = settings.name
        self._settings, self._clock = settings, clock
        self._known = {one.id: one for one in settings.repositories}
        self._clones = {one.id: Clone(self._clone_settings(one), egress, clock, seal) for one in settings.repositories}
        for one in settings.repositories:
            if not one.branches or not set(one.writable) <= set(one.branches):
                raise BadRequest(
                    f"field `writable` of repository `{one.id}` names a branch that `branches` does not",
                    code="config.branch",
                )
        self._doubtful: dict[str, float] = {}
        """Actions whose push broke off, and when: the absence of their commit proves nothing for a while."""
        self._bounds = git_reads.ReadBounds(
            commits_max=settings.commits_max,
            paths_max=settings.paths_max,
            diff_bytes_max=settings.diff_bytes_max,
            file_bytes_max=settings.file_bytes_max,
            lines_max=settings.lines_max,
        )

    def endpoint(self, request: ActionRequest) -> Mapping[str, str]:
        """Where the request's data goes: the repository's own place."""
        known = self._known.get(self._key(request.resource))
        return {"region": known.region if known and known.region else request.resource.region, "provider": self.name}

    async def plan(self, request: ActionRequest, action: Action) -> Plan:
        """For a revert: the difference it makes, on the head that is there now; else what would be read."""
        resource, arguments = request.resource, request.arguments
        if _verb(action) != "change.revert":
            digest = hashlib.sha256(
                orjson.dumps([action.name, resource.id, dict(arguments)], option=orjson.OPT_SORT_KEYS)
            )
            return Plan(
                summary=f"{action.name} on {resource.id}", fingerprint=digest.hexdigest(), affected=(resource.id,)
            )
        clone, branch = self._clone(resource), self._writable(resource, arguments["branch"])
        async with clone.lock:
            await clone.fetch_held()
            revert = await prepare(clone, branch, await self._target(clone, arguments), self._work(request.id))
        # Its own commit has no id yet, and gets another one when the branch moves: the action names it.
        undo = {"branch": branch, "commit": "", "made_by": request.id}
        return Plan(
            summary=f"revert {revert.target[:12]} ({revert.subject}) on {branch} of {resource.id}",
            fingerprint=_fingerprint(revert),
            before={"head": revert.head, "commit": revert.target},
            after={"diff": revert.diff, "paths": list(revert.paths)},
            affected=(resource.id,),
            rollback={
                "action": request.action,
                "resource": {"type": resource.type, "id": resource.id, "env": resource.env},
                "arguments": undo,
            },
        )

    async def execute(self, grant: Grant, action: Action) -> Result:
        """Do it once; reads are bounded, the revert is pushed at most once."""
        clone, arguments = self._clone(grant.request.resource), grant.arguments
        verb = _verb(action)
        if verb == "change.revert":
            return await self._revert(clone, grant)
        if verb not in {"history.list", "commit.show", "diff.show", "file.show", "file.blame"}:
            raise NotFound(f"connector `{self.name}` has no action `{action.name}`", code="connector.unknown_action")
        git_reads.check_path(arguments.get("path", ""))
        if verb == "history.list":
            self._check_window(arguments)
        await clone.fetch()
        return await self._read(clone, verb, arguments)

    async def status_of(self, action_id: str, action: Action | None = None) -> EffectStatus:
        """Fetch and look for the commit that carries ``action_id`` on every branch that may be written."""
        if action is not None and _verb(action) != "change.revert":
            return EffectStatus("unknown", "this action leaves no trace to ask for")
        asked = 0
        try:
            for one in self._settings.repositories:
                clone = self._clones[one.id]
                if one.writable:
                    await clone.fetch(newest=True)
                for branch in one.writable:
                    asked += 1
                    commit = await clone.made_by(action_id, branch)
                    if commit:
                        return EffectStatus("done", f"commit {commit} on {branch} of {one.id}")
        except BrokerError as error:
            return EffectStatus("unknown", f"asking failed: {error.error_code}")
        if not asked:
            return EffectStatus("unknown", "no branch of this connector may be written to")
        if self._clock.monotonic() - self._doubtful.get(action_id, float("-inf")) < self._settings.settle_seconds:
            return EffectStatus("unknown", "the push broke off a moment ago and may still arrive")
        return EffectStatus("not_done", "no commit carries this action")

    async def aclose(self) -> None:
        """Delete the private clones."""
        for clone in self._clones.values():
            await clone.aclose()

    # -- reads ----------------------------------------------------------------------------------------------------------

    async def _read(self, clone: Clone, verb: str, arguments: Mapping[str, Any]) -> Result:
        git, bounds = await clone.git(), self._bounds
        if verb == "commit.show":
            return await git_reads.commit_shown(git, await clone.commit(arguments["commit"]), bounds)
        if verb == "diff.show":
            ends = [await clone.commit(arguments[name]) for name in ("from_commit", "to_commit")]
            return await git_reads.difference(git, ends[0], ends[1], arguments.get("path", ""), bounds)
        if verb == "history.list":
            return await git_reads.history(
                git,
                await self._at(clone, arguments),
                since_s=arguments["since_s"],
                until_s=arguments["until_s"],
                path=arguments.get("path", ""),
                most=arguments.get("max", bounds.commits_max),
                bounds=bounds,
            )
        commit = await self._at(clone, arguments)
        if verb == "file.show":
            return await git_reads.file_shown(git, commit, arguments["path"], bounds)
        lines = arguments.get("line_from", 1), arguments.get("line_to", bounds.lines_max)
        return await git_reads.blamed(git, commit, arguments["path"], *lines, bounds)

    async def _at(self, clone: Clone, arguments: Mapping[str, Any]) -> str:
        """The commit that is meant: one by id, or the head of a branch."""
        if arguments.get("commit"):
            return await clone.commit(arguments["commit"])
        return await clone.head(arguments.get("branch") or clone.branches[0])

    def _check_window(self, arguments: Mapping[str, Any]) -> None:
        width = arguments["until_s"] - arguments["since_s"]
        if not 0 <= width <= self._settings.window_seconds_max:
            raise BadRequest(
                f"the window from `since_s` to `until_s` must be 0 to {self._settings.window_seconds_max} s wide",
                code="request.arguments",
                remedy="ask for a narrower window",
            )

    # -- the revert -----------------------------------------------------------------------------------------------------

    async def _revert(self, clone: Clone, grant: Grant) -> Result:
        """Find it where it was done already; else prepare it on the planned state and push it."""
        branch = self._writable(grant.request.resource, grant.arguments["branch"])
        async with clone.lock:
            await clone.fetch_held()
            found = await clone.made_by(grant.request.id, branch)
            if found:
                paths = await git_reads.changed(await clone.git(), found, self._settings.paths_max)
                return _reverted(branch, found, paths)
            target = await self._target(clone, grant.arguments)
            revert = await prepare(clone, branch, target, self._work(grant.request.id))
            if grant.plan_fingerprint and grant.plan_fingerprint != _fingerprint(revert):
                raise Conflict(
                    "the branch changed after the plan was made; nothing was done",
                    code="approval.plan_drifted",
                    remedy="propose the action again and have the new plan approved",
                )
            done = await self._pushed(clone, revert, grant.request.id)
        return _reverted(branch, done.commit, list(done.paths[: self._settings.paths_max]))

    async def _pushed(self, clone: Clone, revert: Revert, action_id: str) -> Revert:
        """Push, and remember the action as doubtful until its end is known, also where this task is cancelled."""
        self._doubtful[action_id] = self._clock.monotonic()
        try:
            done = await push_revert(clone, revert, self._work(action_id), self._settings.push_attempts)
        except BrokerError as error:
            if not (isinstance(error, UpstreamFailed) and error.sent):
                del self._doubtful[action_id]
            raise
        del self._doubtful[action_id]
        return done

    def _work(self, action_id: str) -> tuple[str, int, int]:
        """What a revert needs to know: the action, the time of its commit, and how large a difference people can review."""
        return action_id, seconds(self._clock), self._settings.diff_bytes_max

    async def _target(self, clone: Clone, arguments: Mapping[str, Any]) -> str:
        """The commit to take back: by its id, or by the action that made it."""
        commit, action_id = arguments.get("commit", ""), arguments.get("made_by", "")
        if bool(commit) == bool(action_id):
            raise BadRequest(
                "exactly one of `arguments.commit` and `arguments.made_by` names what is to be reverted",
                code="request.arguments",
            )
        if commit:
            return await clone.commit(commit)
        made = await clone.made_by(action_id, arguments["branch"])
        if not made:
            raise NotFound("no commit on the branch was made by this action", code="git.unknown_commit")
        return made

    def _key(self, resource: Resource) -> str:
        """The name by which the settings know the target: with its environment where they say it."""
        full = f"{resource.env}/{resource.id}"
        return full if full in self._known else resource.id

    def _clone(self, resource: Resource) -> Clone:
        clone = self._clones.get(self._key(resource))
        if clone is None:
            raise NotFound(
                "no repository is configured for this resource", remedy="list it in the settings of this connector"
            )
        return clone

    def _writable(self, resource: Resource, branch: str) -> str:
        self._clone(resource)
        writable = self._known[self._key(resource)].writable
        if branch not in writable:
            raise BadRequest(
                "this branch is not one that the connector may write to",
                code="git.branch_not_writable",
                remedy=f"use one of: {', '.join(writable) or 'none is configured'}",
            )
        return branch

    def _clone_settings(self, one: GitRepositorySettings) -> CloneSettings:
        settings = self._settings
        return CloneSettings(
            name=settings.name,
            url=one.url,
            branches=one.branches,
            allow_networks=one.allow_networks,
            ca_file=one.ca_file,
            credential=credential_headers(settings.name, one.credential, one.credential_file, one.credential_header),
            timeout_seconds=settings.timeout_seconds,
            bytes_max=settings.bytes_max,
            fresh_seconds=settings.fresh_seconds,
        )


def _reverted(branch: str, commit: str, paths: list[Json]) -> Result:
    return Result(ResultStatus.OK, {"branch": branch, "commit": commit, "paths": paths}, "", {"rows": len(paths)})


def _verb(action: Action) -> str:
    return action.name.partition(".")[2]


def _fingerprint(revert: Revert) -> str:
    """Head of the branch and the commit to take back: whatever moves the branch makes the plan anew."""
    return hashlib.sha256(f"{revert.branch}\n{revert.head}\n{revert.target}".encode()).hexdigest()
