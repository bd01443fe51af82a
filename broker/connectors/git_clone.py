"""A private bare clone of one repository: fetch, push once, and nothing else of the network.

Transports: a folder of this machine (``file``) and ``https`` (``http`` in networks that the operator named). The host is
resolved here, every address is judged by the rule of ``broker/egress``, and git is pinned to them (``http.curloptResolve``);
redirects are refused. A remote folder keeps its own hooks and rules, as any remote does; where it has the branch checked
out, its work tree follows when it is clean (``receive.denyCurrentBranch=updateInstead``).
"""

import asyncio
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from broker.clock import Clock
from broker.connectors.git_runner import Git
from broker.connectors.seal import ACTION, FORMAT, Seal
from broker.egress import Egress
from broker.egress.addresses import origin_of
from broker.errors import BadRequest, NotFound, UpstreamFailed

_BRANCH: Final = re.compile(
    r"(?!.*(\.\.|//|/\.|\.lock(/|$)|@\{))[A-Za-z0-9_][A-Za-z0-9_./@+-]{0,199}(?<![./])", re.ASCII
)
_COMMIT: Final = re.compile(r"[0-9a-f]{7,64}", re.ASCII)
_HERE: Final = "-c 'safe.directory=*'"


@dataclass(frozen=True, slots=True, kw_only=True)
class CloneSettings:
    """Where the repository is and what may be spent on it."""

    name: str
    url: str
    branches: tuple[str, ...]
    allow_networks: tuple[str, ...] = ()
    ca_file: str = ""
    credential: Mapping[str, str]
    """Header name to value; empty where none is sent."""
    timeout_seconds: float
    bytes_max: int
    fresh_seconds: float


@dataclass(frozen=True, slots=True)
class Pushed:
    """How a push ended: ``done``, ``rejected`` (nothing happened), or ``unknown`` (the connection broke)."""

    outcome: str
    reason: str = ""


class Clone:
    """One repository. ``lock`` orders what changes the clone: fetches, and a change from its fetch to its push."""

    def __init__(self, settings: CloneSettings, egress: Egress, clock: Clock, seal: Seal) -> None:
        """Check the settings; raises ``BadRequest`` naming the field. ``seal`` marks the gate's own commits."""
        self.settings = settings
        self.seal = seal
        self.branches = settings.branches
        self._egress, self._clock = egress, clock
        self._origin = _origin(settings)
        for branch in settings.branches:
            if not _BRANCH.fullmatch(branch):
                raise BadRequest(f"field `branches` holds `{branch}`, which is no plain branch", code="config.branch")
        self._folder: Path | None = None
        self._fetched = float("-inf")
        self.lock = asyncio.Lock()

    async def aclose(self) -> None:
        """Delete the clone: it holds nothing that the repository does not."""
        folder, self._folder = self._folder, None
        if folder is not None:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def git(self) -> Git:
        """Git in the clone, without any transport."""
        return Git(await self._home(), timeout_seconds=self.settings.timeout_seconds, bytes_max=self.settings.bytes_max)

    async def fetch(self, *, newest: bool = False) -> None:
        """Bring the branches up to date; not within ``fresh_seconds`` of the last time, unless ``newest``.

        Raises ``UpstreamFailed`` (not sent): an old answer must not pass for a new one.
        """
        async with self.lock:
            if newest or self._clock.monotonic() - self._fetched >= self.settings.fresh_seconds:
                await self.fetch_held()

    async def fetch_held(self) -> None:
        """As ``fetch(newest=True)``, for one who holds ``lock``."""
        git = await self._connected()
        refs = [f"+refs/heads/{branch}:refs/heads/{branch}" for branch in self.branches]
        ran = await git.run(
            "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", f"--upload-pack=git {_HERE} upload-pack",
            self.settings.url, *refs,
        )  # fmt: skip
        if ran.code != 0:
            raise UpstreamFailed(
                f"the repository of `{self.settings.name}` could not be fetched; nothing was changed",
                sent=False,
                code="upstream.unreachable",
                remedy="check its address, its credential and that its branches exist",
            )
        self._fetched = self._clock.monotonic()

    async def push(self, commit: str, branch: str) -> Pushed:
        """Move ``branch`` forward to ``commit``, once and never by force. The caller holds ``lock``."""
        git = await self._connected()
        receive = f"--receive-pack=git {_HERE} -c receive.denyCurrentBranch=updateInstead receive-pack"
        try:
            ran = await git.run(
                "push", "--porcelain", "--no-verify", "--no-signed", receive,
                self.settings.url, f"{commit}:refs/heads/{branch}",
            )  # fmt: skip
        except UpstreamFailed:
            return Pushed("unknown")
        for line in ran.text.splitlines():
            if line.startswith("!"):
                return Pushed("rejected", line.rpartition("\t")[2])
        return Pushed("done" if ran.code == 0 else "unknown")

    async def head(self, branch: str) -> str:
        """Commit id of a branch as it was fetched; raises ``NotFound`` for one that the settings do not name."""
        if branch not in self.branches:
            raise NotFound(
                "this branch is not one that the connector may use",
                code="git.unknown_branch",
                remedy=f"use one of {', '.join(self.branches)}",
            )
        git = await self.git()
        return (await git.text("rev-parse", "--verify", "--quiet", f"refs/heads/{branch}^{{commit}}")).strip()

    async def commit(self, written: str) -> str:
        """Full id of a commit that one of the branches holds; raises ``NotFound``."""
        git = await self.git()
        if _COMMIT.fullmatch(written):
            ran = await git.run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{written}^{{commit}}")
            full = ran.text.strip()
            # A branch may be called like an abbreviated id: what it stands for does not begin with its name.
            if ran.code == 0 and full.startswith(written):
                for branch in self.branches:
                    if await self.holds(f"refs/heads/{branch}", full):
                        return full
        raise NotFound(
            "no such commit on the branches of this repository",
            code="git.unknown_commit",
            remedy="take the id from git.history.list",
        )

    async def holds(self, tip: str, commit: str) -> bool:
        """Whether ``commit`` is ``tip`` or an ancestor of it."""
        git = await self.git()
        return (await git.run("merge-base", "--is-ancestor", commit, tip)).code == 0

    async def made_by(self, action_id: str, branch: str) -> str:
        """Commit on ``branch`` that the gate made for ``action_id``, or an empty string."""
        git = await self.git()
        found = await git.text(
            "log", "-z", "--fixed-strings", f"--grep={ACTION}: {action_id}", "--committer=<wicketgate@localhost>",
            f"--format={FORMAT}", f"refs/heads/{branch}", "--",
        )  # fmt: skip
        return self.seal.found(action_id, found)

    @asynccontextmanager
    async def scratch(self, commit: str) -> AsyncIterator[Path]:
        """A private work tree at ``commit``, gone afterwards."""
        git = await self.git()
        parent = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="wicketgate-git-"))
        try:
            await git.text("worktree", "add", "--quiet", "--detach", "--force", str(parent / "tree"), commit)
            yield parent / "tree"
        finally:
            await asyncio.to_thread(shutil.rmtree, parent, ignore_errors=True)
            await git.run("worktree", "prune")

    async def _home(self) -> Path:
        if self._folder is None:
            folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="wicketgate-clone-"))
            fresh = Git(folder, timeout_seconds=self.settings.timeout_seconds, bytes_max=self.settings.bytes_max)
            await fresh.text("init", "--quiet", "--bare", "--template=", ".")
            self._folder = folder
        return self._folder

    async def _connected(self) -> Git:
        """Git with exactly the one transport that the address needs, pinned to judged addresses."""
        settings, home = self.settings, await self._home()
        config, secret = [], []
        if self._origin is None:
            config.append("protocol.file.allow=always")
        else:
            scheme, host, port = self._origin
            addresses = await self._egress.addresses(
                settings.name, host.strip("[]"), port, allow_networks=settings.allow_networks
            )
            config += [
                f"protocol.{scheme}.allow=always",
                f"http.curloptResolve={host}:{port}:{','.join(map(_bracketed, addresses))}",
                "http.followRedirects=false",
                "http.proxy=",
            ]
            config += [f"http.sslCAInfo={settings.ca_file}"] if settings.ca_file else []
            secret = [("http.extraHeader", f"{name}: {value}") for name, value in settings.credential.items()]
        return Git(
            home, timeout_seconds=settings.timeout_seconds, bytes_max=settings.bytes_max, config=config, secret=secret
        )


def _origin(settings: CloneSettings) -> tuple[str, str, int] | None:
    """(scheme, host, port) of an https address, or None for a folder of this machine; raises ``BadRequest``."""
    if settings.url.startswith("/"):
        return None
    origin, _ = origin_of(settings.name, settings.url, private=bool(settings.allow_networks))
    parts = urlsplit(origin)
    assert parts.port is not None
    return parts.scheme, parts.netloc.rpartition(":")[0], parts.port


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
