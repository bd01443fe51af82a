"""What git prints, read into the shapes of the answers. Formats are NUL-separated, so that no author or path can forge one."""

from dataclasses import dataclass
from typing import Any, Final

from broker.connectors.git_runner import Git, failed
from broker.errors import BadRequest, UpstreamFailed
from broker.model import Json, Result, ResultStatus

_FIELDS: Final = "%H%x00%ct%x00%an%x00%s"
_DIFF: Final = (
    "--no-ext-diff",
    "--no-textconv",
    "--no-color",
    "--no-renames",
    "--full-index",
    "--src-prefix=a/",
    "--dst-prefix=b/",
)
_DIFF_TREE: Final = ("diff-tree", "-r", "--root", "--diff-merges=first-parent")


@dataclass(frozen=True, slots=True)
class ReadBounds:
    """Caps of one answer."""

    commits_max: int
    paths_max: int
    """Paths shown of one commit."""
    diff_bytes_max: int
    file_bytes_max: int
    lines_max: int


def check_path(path: str) -> None:
    """Refuse (``BadRequest``) what is no plain relative path; an empty path stands for the whole tree."""
    if path and (path.startswith("/") or "\0" in path or {"", ".", "..", ".git"} & set(path.split("/"))):
        raise BadRequest(
            "field `arguments.path` is no plain path inside the repository",
            code="request.arguments",
            remedy="write it relative to the repository's root, without `.` and `..`",
        )


async def history(  # noqa: PLR0913 - one keyword a bound
    git: Git, head: str, *, since_s: int, until_s: int, path: str, most: int, bounds: ReadBounds
) -> Result:
    """Commits whose committer's time lies in the window, newest first, each with the paths that it changed."""
    most = min(most, bounds.commits_max)
    printed = await git.text(
        "log", "-z", f"--format={_FIELDS}", f"--max-count={most + 1}", f"--since-as-filter=@{since_s} +0000",
        f"--until=@{until_s} +0000", "--end-of-options", head, "--", *([path] if path else []),
    )  # fmt: skip
    words = printed.split("\0") if printed else []
    rows = [words[place : place + 4] for place in range(0, len(words) - 3, 4)]
    cut = [f"the newest {most} of more commits"] if len(rows) > most else []
    paths, shortened = await _paths(git, [row[0] for row in rows[:most]], bounds.paths_max)
    if shortened:
        cut.append(f"{shortened} commits changed more than the {bounds.paths_max} paths that are shown")
    commits = [_summary(row, paths) for row in rows[:most]]
    return _result({"commits": commits}, len(commits), cut)


async def commit_shown(git: Git, commit: str, bounds: ReadBounds) -> Result:
    """One commit: who, when, why, and its difference from its first parent."""
    printed = await git.text("show", "--no-patch", "-z", f"--format={_FIELDS}%x00%P%x00%B", "--end-of-options", commit)
    words = printed.split("\0")
    paths, shortened = await _paths(git, [commit], bounds.paths_max)
    diff, cut = await _diff(git, [*_DIFF_TREE, "--no-commit-id", "--patch", *_DIFF, commit], bounds)
    value = {**_summary(words[:4], paths), "parents": words[4].split(), "message": words[5].strip(), "diff": diff}
    if shortened:
        cut.append(f"only {bounds.paths_max} of the changed paths are shown")
    return _result(value, 1, cut)


async def difference(git: Git, from_commit: str, to_commit: str, path: str, bounds: ReadBounds) -> Result:
    """What ``to_commit`` holds other than ``from_commit``."""
    scope = ["--", path] if path else ["--"]
    named = await git.text("diff-tree", "-r", "-z", "--name-only", "--no-renames", from_commit, to_commit, *scope)
    paths = named.split("\0")[:-1]
    diff, cut = await _diff(git, ["diff-tree", "-r", "--patch", *_DIFF, from_commit, to_commit, *scope], bounds)
    if len(paths) > bounds.paths_max:
        cut.append(f"{bounds.paths_max} of {len(paths)} changed paths")
    value = {"from_commit": from_commit, "to_commit": to_commit, "paths": paths[: bounds.paths_max], "diff": diff}
    return _result(value, len(paths), cut)


async def file_shown(git: Git, commit: str, path: str, bounds: ReadBounds) -> Result:
    """A plain text file at a commit; EMPTY where there is none."""
    entry = (await git.text("ls-tree", "-z", commit, "--", path)).rstrip("\0")
    value = {"commit": commit, "path": path, "blob": "", "content": ""}
    if not entry:
        return Result(ResultStatus.EMPTY, value, "no such file at this commit")
    mode, kind, blob = entry.partition("\t")[0].split()
    if kind != "blob" or mode == "120000":
        return Result(ResultStatus.ERROR, value, "this is not a plain file")
    ran = await git.run("cat-file", "blob", blob, bytes_max=bounds.file_bytes_max)
    if not ran.cut and ran.code != 0:
        raise failed("git cat-file failed")
    if b"\0" in ran.out:
        return Result(ResultStatus.ERROR, {**value, "blob": blob}, "the file is not text")
    cut = [f"the first {bounds.file_bytes_max} bytes of the file"] if ran.cut else []
    return _result({**value, "blob": blob, "content": ran.text}, 1, cut)


async def blamed(git: Git, commit: str, path: str, line_from: int, line_to: int, bounds: ReadBounds) -> Result:  # noqa: PLR0913, PLR0917
    """For each line of the range: the commit that last changed it, when, by whom."""
    if line_to < line_from:
        raise BadRequest("field `arguments.line_to` lies before `line_from`", code="request.arguments")
    last = min(line_to, line_from + bounds.lines_max - 1)
    ran = await git.run("blame", "--porcelain", "-L", f"{line_from},{last}", commit, "--", path)
    if ran.cut:
        raise failed("the blame of these lines is larger than what is read; ask for fewer lines")
    lines = _blame_lines(ran.text) if ran.code == 0 else []
    cut = [f"lines up to {last}"] if last < line_to and len(lines) == bounds.lines_max else []
    return _result({"commit": commit, "path": path, "lines": lines}, len(lines), cut)


def _blame_lines(printed: str) -> list[dict[str, Json]]:
    """The porcelain form: a header, facts of a commit at its first line, then the line itself behind a tab."""
    lines: list[dict[str, Json]] = []
    facts: dict[str, dict[str, str]] = {}
    commit, number = "", 0
    at_header = True
    for row in printed.split("\n"):
        if at_header and row:
            commit, _, final, *_ = row.split(" ")
            number, at_header = int(final), False
        elif row.startswith("\t"):
            known = facts.get(commit, {})
            at = int(known.get("committer-time", "0"))
            lines.append(
                {"line": number, "commit": commit, "at": at, "author": known.get("author", ""), "text": row[1:]}
            )
            at_header = True
        elif row:
            key, _, value = row.partition(" ")
            facts.setdefault(commit, {}).setdefault(key, value)
    return lines


async def changed(git: Git, commit: str, most: int) -> list[Json]:
    """Paths that a commit changed, at most ``most``."""
    return (await _paths(git, [commit], most))[0][commit]


async def _paths(git: Git, commits: list[str], most: int) -> tuple[dict[str, list[Json]], int]:
    """Changed paths of each commit, and how many commits changed more than are shown.

    With states (``--name-status``) every path stands behind a letter, so that no path can be read as a commit.
    """
    if not commits:
        return {}, 0
    listed = "".join(f"{commit}\n" for commit in commits).encode()
    ran = await git.run(*_DIFF_TREE, "--stdin", "-z", "--name-status", "--no-renames", stdin=listed)
    if ran.code != 0 and not ran.cut:
        raise failed("git diff-tree failed")
    found: dict[str, list[Json]] = {commit: [] for commit in commits}
    words = iter(ran.text.split("\0"))
    commit, shortened = "", set[str]()
    for word in words:
        if len(word) >= 40:
            commit = word
        elif word:
            path = next(words, "")
            if len(found[commit]) < most:
                found[commit].append(path)
            else:
                shortened.add(commit)
    return found, len(shortened) + ran.cut


async def _diff(git: Git, command: list[str], bounds: ReadBounds) -> tuple[str, list[str]]:
    ran = await git.run(*command, bytes_max=bounds.diff_bytes_max)
    if ran.code != 0 and not ran.cut:
        raise failed("git could not show the difference")
    return ran.text, [f"the first {bounds.diff_bytes_max} bytes of the difference"] if ran.cut else []


def _summary(row: list[str], paths: dict[str, list[Json]]) -> dict[str, Any]:
    try:
        commit, at, author, subject = row
        return {"commit": commit, "at": int(at), "author": author, "subject": subject, "paths": paths[commit]}
    except (ValueError, KeyError):
        raise UpstreamFailed("git printed a history that cannot be read", sent=False, code="upstream.garbage") from None


def _result(value: dict[str, Any], rows: int, cut: list[str]) -> Result:
    units = {"rows": rows}
    if cut:
        return Result(ResultStatus.TRUNCATED, value, "; ".join(cut), units)
    return Result(ResultStatus.OK if rows else ResultStatus.EMPTY, value, "", units)
