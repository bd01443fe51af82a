"""A git repository of configuration: read a file, and replace it by compare-and-set on the branch.

Plumbing only: no checkout, no hooks, no network, no user configuration. The one step that makes a write true is
``git update-ref BRANCH NEW OLD``, which git does atomically; a work tree, where there is one, follows after it.
"""

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path

from broker.connectors.git_runner import Git, failed
from broker.connectors.seal import ACTION, FORMAT, Seal
from broker.errors import Conflict, UpstreamFailed


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """One file at the branch's head; ``blob`` is empty where the file does not exist yet."""

    head: str
    blob: str
    mode: str
    content: str


class GitRepository:
    """One branch of one repository, bare or with a work tree."""

    def __init__(self, folder: Path, seal: Seal, *, branch: str, timeout_seconds: float, bytes_max: int) -> None:
        """``bytes_max`` bounds one file; ``timeout_seconds`` one git command; ``seal`` marks the gate's own commits."""
        self._seal = seal
        self._ref = f"refs/heads/{branch}"
        self._bytes_max = bytes_max
        # A little more than the file, so that one which is too large is refused by name.
        self._git = Git(folder, timeout_seconds=timeout_seconds, bytes_max=bytes_max + 4096).text
        self._lock = asyncio.Lock()

    async def head(self) -> str:
        """Commit id of the branch."""
        return (await self._git("rev-parse", "--verify", self._ref)).strip()

    async def read(self, path: str) -> ConfigFile:
        """Return the file at the head. Raises ``UpstreamFailed`` (``sent=False``: reading changes nothing)."""
        head = await self.head()
        entry = (await self._git("ls-tree", head, "--", path)).split()
        if not entry:
            return ConfigFile(head, "", "100644", "")
        mode, kind, blob = entry[0], entry[1], entry[2]
        if kind != "blob" or mode == "120000":
            raise failed("the configured path is not a plain file in the repository")
        if int(await self._git("cat-file", "-s", blob)) > self._bytes_max:
            raise failed(f"the file is larger than {self._bytes_max} bytes")
        return ConfigFile(head, blob, mode, await self._git("cat-file", "blob", blob))

    async def blob_of(self, content: str) -> str:
        """The blob id that ``content`` would have; writes nothing."""
        return (await self._git("hash-object", "--no-filters", "--stdin", stdin=content.encode())).strip()

    async def write(self, path: str, content: str, *, expected_blob: str, action_id: str, at_s: int) -> ConfigFile:
        """Commit ``content`` if the file is still ``expected_blob``; raises ``Conflict`` (``config.changed``) else.

        The commit carries trailers, by which ``committed`` knows it again (``seal.py``).
        """
        async with self._lock:
            now = await self.read(path)
            if now.blob != expected_blob:
                raise _changed()
            commit = await self._commit(path, content, now, action_id, at_s)
            try:
                await self._git("update-ref", "-m", f"{ACTION}: {action_id}", self._ref, commit, now.head)
            except UpstreamFailed as error:
                if await self.head() != now.head:
                    raise _changed() from None
                error.sent = error.error_code == "upstream.timeout"
                raise
            await self._follow(now.head, commit)
            return await self.read(path)

    async def committed(self, action_id: str) -> str:
        """Id of the commit that the gate made for ``action_id``, or an empty string."""
        found = await self._git(
            "log", "-z", "--fixed-strings", f"--grep={ACTION}: {action_id}",
            f"--format={FORMAT}", self._ref, "--",
        )  # fmt: skip
        return self._seal.found(action_id, found)

    async def _commit(self, path: str, content: str, now: ConfigFile, action_id: str, at_s: int) -> str:
        """Write blob, tree and commit: objects that nothing refers to yet."""
        blob = (await self._git("hash-object", "-w", "--no-filters", "--stdin", stdin=content.encode())).strip()
        with tempfile.TemporaryDirectory(prefix="wicketgate-") as scratch:
            index = {"GIT_INDEX_FILE": str(Path(scratch) / "index")}
            await self._git("read-tree", now.head, extra=index)
            await self._git("update-index", "--add", "--cacheinfo", f"{now.mode},{blob},{path}", extra=index)
            tree = (await self._git("write-tree", extra=index)).strip()
        stamp = {"GIT_AUTHOR_DATE": f"{at_s} +0000", "GIT_COMMITTER_DATE": f"{at_s} +0000"}
        message = f"config: change {path}\n\n{self._seal.trailers(action_id, now.head, tree)}"
        return (await self._git("commit-tree", tree, "-p", now.head, stdin=message.encode(), extra=stamp)).strip()

    async def _follow(self, old: str, new: str) -> None:
        """Bring the index and a work tree along, where this branch is checked out; local edits are never overwritten."""
        if (await self._git("rev-parse", "--is-bare-repository")).strip() == "true":
            return
        if (await self._git("rev-parse", "--symbolic-full-name", "HEAD")).strip() != self._ref:
            return
        try:
            await self._git("read-tree", "-m", "-u", old, new)
        except UpstreamFailed as error:
            raise UpstreamFailed(
                "the change is committed, but the work tree could not follow",
                code="config.work_tree",
                remedy="someone edited the work tree by hand: mend it there and check the commit out",
            ) from error


def _changed() -> Conflict:
    return Conflict(
        "the configuration changed since it was read; nothing was written",
        code="config.changed",
        remedy="read it again with local.config.read and send the blob it names as expected_blob",
    )
