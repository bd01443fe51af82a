"""One revert: made in a private work tree, pushed without force, made again when somebody else was faster."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.connectors.git_clone import Clone
from broker.connectors.git_runner import Git, failed
from broker.errors import Conflict, UpstreamFailed

_RACES: Final = re.compile(r"fetch first|non-fast-forward|stale info|lock|failed to update ref|incorrect old value")
"""What git says of a push that lost a race; the branch may not show the winner yet."""


@dataclass(frozen=True, slots=True)
class Revert:
    """A commit that nothing refers to yet. ``patch`` is the same for the same change wherever it stands."""

    branch: str
    head: str
    """Its parent: the branch as it was fetched."""
    target: str
    commit: str
    diff: str
    patch: str
    paths: tuple[str, ...]
    subject: str


async def prepare(clone: Clone, branch: str, target: str, work: tuple[str, int, int]) -> Revert:
    """Make the revert of ``target`` on the fetched head; ``work`` is (action id, time in s, bytes of the difference).

    Raises ``Conflict`` where it does not apply, changes nothing, or is too large to be shown. The caller holds the lock.
    """
    action_id, at_s, bytes_max = work
    git, head = await clone.git(), await clone.head(branch)
    if not await clone.holds(head, target):
        raise Conflict(
            "the commit is not on this branch", code="git.not_on_branch", remedy="name the branch that holds it"
        )
    parents = (await git.text("rev-list", "--parents", "--max-count=1", target)).split()[1:]
    subject = (await git.text("show", "--no-patch", "--format=%s", target)).strip()
    async with clone.scratch(head) as tree:
        tree_id = await _reverted(git, tree, target, merge=len(parents) > 1)
    if tree_id == (await git.text("rev-parse", f"{head}^{{tree}}")).strip():
        raise Conflict(
            "the branch holds nothing of this commit any more; there is nothing to take back",
            code="git.nothing_to_revert",
            remedy="read the history again; somebody may have reverted it",
        )
    diff = await git.run("diff-tree", "-r", "--patch", "--full-index", "--no-renames", "--no-ext-diff", "--no-textconv", head, tree_id, bytes_max=bytes_max)  # fmt: skip
    if diff.cut:
        raise Conflict(
            f"the revert changes more than the {bytes_max} bytes that a person can be shown",
            code="git.revert_too_large",
            remedy="revert smaller commits, or do it by hand",
        )
    if diff.code != 0:
        raise failed("git could not show what the revert changes")
    named = await git.text("diff-tree", "-r", "-z", "--name-only", "--no-renames", head, tree_id)
    message = f'Revert "{subject}"\n\nThis reverts commit {target}.\n\n{clone.seal.trailers(action_id, head, tree_id)}'
    stamp = {"GIT_AUTHOR_DATE": f"{at_s} +0000", "GIT_COMMITTER_DATE": f"{at_s} +0000"}
    commit = (await git.text("commit-tree", tree_id, "-p", head, stdin=message.encode(), extra=stamp)).strip()
    patch = (await git.text("patch-id", "--stable", stdin=diff.out)).split(" ")[0]
    return Revert(branch, head, target, commit, diff.text, patch, tuple(named.split("\0")[:-1]), subject)


async def push_revert(clone: Clone, first: Revert, work: tuple[str, int, int], attempts: int) -> Revert:
    """Push ``first``, or the same change on a newer head; what was pushed. The caller holds the lock.

    Raises ``Conflict`` and ``UpstreamFailed`` with ``sent=False`` where nothing was done, ``UpstreamFailed`` with
    ``sent=True`` where the connection broke and the repository cannot say yet.
    """
    revert = first
    for _ in range(attempts):
        pushed = await clone.push(revert.commit, revert.branch)
        if pushed.outcome == "unknown":
            return await _settled(clone, revert)
        if pushed.outcome == "done":
            return revert
        await clone.fetch_held()
        head = await clone.head(revert.branch)
        if head == revert.head and not _RACES.search(pushed.reason):
            raise UpstreamFailed(
                "the repository refused the push; nothing was changed",
                sent=False,
                code="git.push_refused",
                remedy="check the branch's protection and the rights of this connector's credential",
            )
        revert = await prepare(clone, revert.branch, revert.target, work)
        if revert.patch != first.patch:
            raise Conflict(
                "the branch moved, and the revert would now change something else; nothing was done",
                code="approval.plan_drifted",
                remedy="propose the action again on the new head",
            )
    raise UpstreamFailed(
        f"others pushed first {attempts} times; nothing was changed",
        sent=False,
        code="git.push_contended",
        remedy="try again when the branch is quieter",
        retry_after=5.0,
    )


async def _reverted(git: Git, tree: Path, target: str, *, merge: bool) -> str:
    """Id of the tree that ``git revert`` leaves; ``Conflict`` where it does not apply."""
    side = ["--mainline", "1"] if merge else []
    ran = await git.run("revert", "--no-commit", "--no-edit", *side, target, folder=tree)
    if ran.code != 0:
        raise Conflict(
            "later commits changed the same lines: the revert does not apply; nothing was done",
            code="git.revert_conflict",
            remedy="revert the later commits first, or have a person write the change",
        )
    return (await git.text("write-tree", folder=tree)).strip()


async def _settled(clone: Clone, revert: Revert) -> Revert:
    """After a push whose end was not seen: what the repository says now. Absence proves nothing yet."""
    try:
        await clone.fetch_held()
        arrived = await clone.holds(f"refs/heads/{revert.branch}", revert.commit)
    except UpstreamFailed:
        arrived = False
    if arrived:
        return revert
    raise UpstreamFailed(
        "the push broke off, and the branch does not show the commit yet; it may still arrive",
        code="upstream.cut",
        remedy="ask again for the outcome of this action before repeating it",
    )
