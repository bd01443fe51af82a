"""Real repositories: reads that are bounded, and text in them that nobody may trust."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from broker.clock import SeededClock
from broker.connectors.git import GitConnector, GitRepositorySettings, GitSettings
from broker.egress import Egress
from broker.errors import BadRequest, NotFound, UpstreamFailed
from broker.model import Resource, Result, ResultStatus
from tests.parts import ROOT
from tests.sim.git_remote import START_S, Remote
from tests.unit.connectors.cases import SEAL

MANIFEST = (ROOT / "policies/manifests/git.yaml").read_text()
SHOP = Resource(type="repository", id="shop", env="prod", region="eu-west-1")
WINDOW = {"since_s": START_S, "until_s": START_S + 86_400}


@dataclass
class World:
    """A remote, and the connector that may read and revert on its main branch."""

    adapter: GitConnector
    remote: Remote
    clock: SeededClock
    asked: Any

    async def act(self, action: str, *, id_: str = "act_1", fingerprint: str = "", **arguments: Any) -> Result:
        grant, declared = self.asked.grant(f"git.{action}", SHOP, arguments, id_, plan_fingerprint=fingerprint)
        return await self.adapter.execute(grant, declared)

    async def value(self, action: str, **arguments: Any) -> Any:
        result = await self.act(action, **arguments)
        assert result.status is ResultStatus.OK, result.detail
        return result.value


@asynccontextmanager
async def world(tmp_path: Path, asked: Any, **more: Any) -> AsyncIterator[World]:
    remote = Remote.at(tmp_path)
    remote.commit("first", {"checkout.toml": "pool = 5\ntimeout = 1\n", "readme": "the shop\n"})
    clock = SeededClock((START_S + 3600) * 1_000_000_000)
    one = GitRepositorySettings(id="shop", url=str(remote.folder), writable=("main",))
    settings = GitSettings(**{"name": "git", "repositories": (one,), "fresh_seconds": 0.0, **more})
    adapter = GitConnector(settings, Egress(), clock, SEAL)
    try:
        yield World(adapter, remote, clock, asked(MANIFEST))
    finally:
        await adapter.aclose()


def test_the_history_of_a_window_names_commits_times_authors_and_paths(tmp_path: Path, asked: Any) -> None:
    async def main() -> None:
        async with world(tmp_path, asked) as here:
            second = here.remote.commit("raise the pool", {"checkout.toml": "pool = 50\ntimeout = 1\n"})
            at = here.remote.clock
            value = await here.value("history.list", **WINDOW)
            assert [one["subject"] for one in value["commits"]] == ["raise the pool", "first"]
            assert value["commits"][0] == {
                "commit": second, "at": at, "author": "Ann Lee", "subject": "raise the pool", "paths": ["checkout.toml"],
            }  # fmt: skip
            only = await here.value("history.list", since_s=at, until_s=at)
            assert [one["commit"] for one in only["commits"]] == [second]
            touched = await here.value("history.list", **WINDOW, path="readme")
            assert [one["subject"] for one in touched["commits"]] == ["first"]

    asyncio.run(main())


def test_an_empty_window_is_empty_and_a_full_one_is_truncated(tmp_path: Path, asked: Any) -> None:
    async def main() -> None:
        async with world(tmp_path, asked) as here:
            before = await here.act("history.list", since_s=START_S - 100, until_s=START_S - 1)
            assert (before.status, before.value) == (ResultStatus.EMPTY, {"commits": []})
            here.remote.commit("second", {"readme": "2\n"})
            some = await here.act("history.list", **WINDOW, max=1)
            assert some.status is ResultStatus.TRUNCATED
            assert "newest 1" in some.detail
            assert len(some.value["commits"]) == 1

    asyncio.run(main())


def test_a_commit_made_with_an_old_date_between_new_ones_hides_nothing(tmp_path: Path, asked: Any) -> None:
    async def main() -> None:
        async with world(tmp_path, asked) as here:
            here.remote.clock -= 10_000_000
            here.remote.commit("dated back", {"readme": "2\n"})
            value = await here.value("history.list", **WINDOW)
            assert [one["subject"] for one in value["commits"]] == ["first"]

    asyncio.run(main())


def test_no_author_subject_or_path_can_forge_another_commit(tmp_path: Path, asked: Any) -> None:
    async def main() -> None:
        async with world(tmp_path, asked) as here:
            forged = "0123456789012345678901234567890123456789"
            here.remote.environment = {"GIT_AUTHOR_NAME": f"{forged}\x1e\x1f"}
            odd = {f"{forged}": "x", "a\nb\tc": "x", ":(top)": "x", '"q"': "x", "é": "x"}
            here.remote.commit(f"\x1f{forged}\x1f17672256000\x1e\n\nbody", odd)
            value = await here.value("history.list", **WINDOW)
            assert len(value["commits"]) == 2
            assert sorted(value["commits"][0]["paths"]) == sorted(odd)
            assert value["commits"][1]["paths"] == ["checkout.toml", "readme"]

    asyncio.run(main())


def test_a_commit_shows_its_message_and_its_difference(tmp_path: Path, asked: Any) -> None:
    async def main() -> None:
        async with world(tmp_path, asked) as here:
            second = here.remote.commit("raise\n\nbecause of load", {"checkout.toml": "pool = 50\ntimeout = 1\n"})
            value = await here.value("commit.show", commit=second[:10])
            assert value["commit"] == second
            assert value["message"] == "raise\n\nbecause of load"
            assert "-pool = 5\n+pool = 50\n" in value["diff"]
            assert len(value["parents"]) == 1
            root = await here.value("commit.show", commit=value["parents"][0])
            assert root["parents"] == []
            assert root["paths"] == ["checkout.toml", "readme"]
            assert "+the shop" in root["diff"]

    asyncio.run(main())


def test_a_merge_shows_what_it_brought_in(tmp_path: Path, asked: Any) -> None:
    async def main() -> None:
        async with world(tmp_path, asked) as here:
            here.remote.run("checkout", "-q", "-b", "side")
            here.remote.commit("on the side", {"side": "1\n"}, push=False)
            here.remote.run("checkout", "-q", "main")
            here.remote.commit("meanwhile", {"readme": "2\n"})
            here.remote.run("merge", "-q", "--no-ff", "-m", "merge side", "side")
            here.remote.run("push", "-q", "origin", "main")
            value = await here.value("commit.show", commit=here.remote.head())
            assert value["paths"] == ["side"]
            assert len(value["parents"]) == 2
            listed = await here.value("history.list", **WINDOW)
            assert listed["commits"][0]["paths"] == ["side"]

    asyncio.run(main())


def test_the_difference_of_two_commits_is_bounded_by_path_and_bytes(tmp_path: Path, asked: Any) -> None:
    async def main() -> None:
        async with world(tmp_path, asked, diff_bytes_max=4000) as here:
            first = here.remote.head()
            last = here.remote.commit("much", {"readme": "short\n", "big": "line\n" * 5000})
            small = await here.value("diff.show", from_commit=first, to_commit=last, path="readme")
            assert small["paths"] == ["readme"]
            assert "+short" in small["diff"]
            whole = await here.act("diff.show", from_commit=first, to_commit=last)
            assert whole.status is ResultStatus.TRUNCATED
            assert len(whole.value["diff"]) == 4000
            same = await here.act("diff.show", from_commit=first, to_commit=first)
            assert same.status is ResultStatus.EMPTY

    asyncio.run(main())


def test_a_file_is_shown_at_a_commit_and_what_is_no_text_is_not(tmp_path: Path, asked: Any) -> None:
    async def main() -> None:
        async with world(tmp_path, asked, file_bytes_max=10_000) as here:
            first = here.remote.head()
            here.remote.commit("second", {"checkout.toml": "pool = 50\n", "blob": b"\x00\x01", "big": "x" * 20_000})
            (here.remote.work / "link").symlink_to("/etc/passwd")
            here.remote.commit("link", {})
            assert (await here.value("file.show", path="checkout.toml"))["content"] == "pool = 50\n"
            assert "timeout" in (await here.value("file.show", path="checkout.toml", commit=first))["content"]
            assert (await here.act("file.show", path="nothing")).status is ResultStatus.EMPTY
            assert (await here.act("file.show", path="blob")).status is ResultStatus.ERROR
            assert (await here.act("file.show", path="link")).status is ResultStatus.ERROR
            big = await here.act("file.show", path="big")
            assert (big.status, len(big.value["content"])) == (ResultStatus.TRUNCATED, 10_000)

    asyncio.run(main())


def test_blame_names_the_commit_of_each_line(tmp_path: Path, asked: Any) -> None:
    async def main() -> None:
        async with world(tmp_path, asked, lines_max=2) as here:
            first = here.remote.head()
            second = here.remote.commit("raise", {"checkout.toml": "pool = 50\ntimeout = 1\n\tauthor x\n"})
            at = here.remote.clock
            result = await here.act("file.blame", path="checkout.toml", line_from=1, line_to=3)
            assert result.status is ResultStatus.TRUNCATED
            assert [(one["commit"], one["text"]) for one in result.value["lines"]] == [
                (second, "pool = 50"), (first, "timeout = 1"),
            ]  # fmt: skip
            last = await here.value("file.blame", path="checkout.toml", line_from=3, line_to=3)
            assert last["lines"] == [{"line": 3, "commit": second, "at": at, "author": "Ann Lee", "text": "\tauthor x"}]
            assert (await here.act("file.blame", path="none")).status is ResultStatus.EMPTY

    asyncio.run(main())


def test_what_could_be_an_option_a_range_or_another_tree_is_refused(tmp_path: Path, asked: Any) -> None:
    async def main() -> None:
        async with world(tmp_path, asked) as here:
            for commit in ("HEAD", "--all", "main", "a" * 6, "A" * 40, "main..main", "0" * 40 + "\n"):
                with pytest.raises(BadRequest):
                    await here.act("commit.show", commit=commit)
            with pytest.raises(NotFound):
                await here.act("commit.show", commit="0" * 40)
            for path in ("/etc/passwd", "../x", ".git/config", "a//b", "a/./b"):
                with pytest.raises(BadRequest):
                    await here.act("file.show", path=path)
            with pytest.raises(NotFound):
                await here.act("history.list", **WINDOW, branch="other")
            with pytest.raises(BadRequest):
                await here.act("history.list", since_s=10, until_s=9)
            assert (await here.act("file.show", path="--output=x")).status is ResultStatus.EMPTY
            assert (await here.act("history.list", **WINDOW, path=":(top,glob)**")).status is ResultStatus.EMPTY

    asyncio.run(main())


def test_a_commit_of_a_branch_that_is_not_configured_is_not_there(tmp_path: Path, asked: Any) -> None:
    async def main() -> None:
        async with world(tmp_path, asked) as here:
            here.remote.run("checkout", "-q", "-b", "secret")
            hidden = here.remote.commit("hidden", {"secret": "1"}, push=False)
            here.remote.run("push", "-q", "origin", "secret")
            with pytest.raises(NotFound):
                await here.act("commit.show", commit=hidden)

    asyncio.run(main())


def test_nothing_of_the_repository_or_the_home_runs(
    tmp_path: Path, asked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attributes, a textconv, an external diff, hooks and a person's configuration: none of them is asked."""

    async def main() -> None:
        home, mark = tmp_path / "home", tmp_path / "ran"
        home.mkdir()
        touch = f"touch {mark}"
        (home / ".gitconfig").write_text(
            f'[diff "x"]\n textconv = {touch}\n command = {touch}\n[filter "x"]\n smudge = {touch}\n clean = {touch}\n'
            f"[core]\n fsmonitor = {touch}\n sshCommand = {touch}\n[diff]\n external = {touch}\n[alias]\n log = !{touch}\n"
        )
        monkeypatch.setenv("HOME", str(home))
        for name in ("GIT_EXTERNAL_DIFF", "GIT_PAGER", "GIT_SSH_COMMAND", "GIT_EDITOR", "GIT_ASKPASS"):
            monkeypatch.setenv(name, touch)
        async with world(tmp_path, asked) as here:
            bad = here.remote.commit("attributes", {".gitattributes": "* diff=x filter=x merge=x\n", "readme": "2\n"})
            mark.unlink(missing_ok=True)
            await here.value("commit.show", commit=bad)
            await here.value("file.blame", path="readme")
            await here.value("change.revert", branch="main", commit=bad)
            assert not mark.exists()

    asyncio.run(main())


def test_an_answer_is_never_older_than_the_settings_say(tmp_path: Path, asked: Any) -> None:
    async def main() -> None:
        async with world(tmp_path, asked, fresh_seconds=60.0) as here:
            await here.value("history.list", **WINDOW)
            here.remote.commit("second", {"readme": "2\n"})
            assert len((await here.value("history.list", **WINDOW))["commits"]) == 1
            here.clock.advance(60)
            assert len((await here.value("history.list", **WINDOW))["commits"]) == 2

    asyncio.run(main())


def test_a_repository_that_is_gone_gives_no_answer_instead_of_an_old_one(tmp_path: Path, asked: Any) -> None:
    async def main() -> None:
        async with world(tmp_path, asked) as here:
            await here.value("history.list", **WINDOW)
            here.remote.folder.rename(tmp_path / "moved")
            with pytest.raises(UpstreamFailed) as caught:
                await here.act("history.list", **WINDOW)
            assert (caught.value.error_code, caught.value.sent) == ("upstream.unreachable", False)
            assert (await here.adapter.status_of("act_1")).status == "unknown"

    asyncio.run(main())


def test_a_git_that_hangs_is_ended_with_its_children(tmp_path: Path, asked: Any) -> None:
    async def main() -> None:
        async with world(tmp_path, asked, timeout_seconds=0.3) as here:
            (here.remote.folder / "objects").rename(tmp_path / "objects")
            (here.remote.folder / "HEAD").unlink()
            import os

            os.mkfifo(here.remote.folder / "HEAD")  # nobody will ever write to it
            with pytest.raises(UpstreamFailed) as caught:
                await here.act("history.list", **WINDOW)
            assert (caught.value.error_code, caught.value.sent) == ("upstream.timeout", False)

    asyncio.run(main())


def test_a_repository_can_be_named_with_its_environment(tmp_path: Path, asked: Any) -> None:
    async def main() -> None:
        remotes = {env: Remote.at(tmp_path / env) for env in ("prod", "staging")}
        for env, remote in remotes.items():
            remote.commit(env, {"readme": env})
        known = tuple(GitRepositorySettings(id=f"{env}/shop", url=str(one.folder)) for env, one in remotes.items())
        adapter = GitConnector(GitSettings(name="git", repositories=known), Egress(), SeededClock(), SEAL)
        for env in ("prod", "staging", "dev"):
            resource = Resource(type="repository", id="shop", env=env)
            grant, declared = asked(MANIFEST).grant("git.history.list", resource, WINDOW)
            if env == "dev":
                with pytest.raises(NotFound):
                    await adapter.execute(grant, declared)
            else:
                (commit,) = (await adapter.execute(grant, declared)).value["commits"]
                assert commit["subject"] == env
        await adapter.aclose()

    asyncio.run(main())


def test_settings_that_cannot_be_meant_are_refused() -> None:
    for one, code in (
        (GitRepositorySettings(id="a", url="/x", writable=("other",)), "config.branch"),
        (GitRepositorySettings(id="a", url="/x", branches=("-x",)), "config.branch"),
        (GitRepositorySettings(id="a", url="/x", branches=("a..b",)), "config.branch"),
        (GitRepositorySettings(id="a", url="ext::sh -c x"), "config.base_url"),
        (GitRepositorySettings(id="a", url="http://public.example/x.git"), "config.base_url"),
        (GitRepositorySettings(id="a", url="-oProxyCommand=x"), "config.base_url"),
    ):
        with pytest.raises(BadRequest) as caught:
            GitConnector(GitSettings(name="git", repositories=(one,)), Egress(), SeededClock(), SEAL)
        assert caught.value.error_code == code
