"""Taking a commit back, against a real repository: planned, pushed without force, once, and with a way back."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from broker.clock import SeededClock
from broker.connectors.git import GitConnector, GitRepositorySettings, GitSettings
from broker.egress import Egress
from broker.errors import BadRequest, Conflict, NotFound, UpstreamFailed
from broker.model import Plan, Resource, Result, ResultStatus
from tests.parts import ROOT
from tests.sim.git_remote import START_S, Remote
from tests.unit.connectors.cases import SEAL

MANIFEST = (ROOT / "policies/manifests/git.yaml").read_text()
SHOP = Resource(type="repository", id="shop", env="prod", region="eu-west-1")
GOOD, BAD = "pool = 5\ntimeout = 1\n", "pool = 50\ntimeout = 1\n"


@dataclass
class World:
    """A remote with a good commit and a bad one on top, and the connector that may take it back."""

    adapter: GitConnector
    remote: Remote
    bad: str
    asked: Any

    async def revert(self, commit: str = "", *, id_: str = "act_one", fingerprint: str = "", **more: Any) -> Result:
        arguments = {"branch": "main", **({"commit": commit} if commit else {}), **more}
        grant, declared = self.asked.grant("git.change.revert", SHOP, arguments, id_, plan_fingerprint=fingerprint)
        return await self.adapter.execute(grant, declared)

    async def plan(self, commit: str = "", *, id_: str = "act_one", **more: Any) -> Plan:
        arguments = {"branch": "main", **({"commit": commit} if commit else {}), **more}
        request = self.asked.request("git.change.revert", SHOP, arguments, id_)
        return await self.adapter.plan(request, self.asked.catalog.action("git.change.revert"))

    async def status(self, action_id: str) -> str:
        return (await self.adapter.status_of(action_id, self.asked.catalog.action("git.change.revert"))).status


def connector(remote: Remote, **more: Any) -> GitConnector:
    one = GitRepositorySettings(id="shop", url=str(remote.folder), writable=("main",))
    settings = GitSettings(**{"name": "git", "repositories": (one,), **more})
    return GitConnector(settings, Egress(), SeededClock((START_S + 7200) * 1_000_000_000), SEAL)


@asynccontextmanager
async def world(tmp_path: Path, asked: Any, **more: Any) -> AsyncIterator[World]:
    remote = Remote.at(tmp_path)
    remote.commit("first", {"checkout.toml": GOOD, "readme": "the shop\n"})
    bad = remote.commit("raise the pool", {"checkout.toml": BAD})
    adapter = connector(remote, **more)
    try:
        yield World(adapter, remote, bad, asked(MANIFEST))
    finally:
        await adapter.aclose()


def race(remote: Remote, times: int) -> None:
    """A hook of the remote that lets somebody else's commit land first, ``times`` times."""
    rival = remote.work.with_name("rival")
    remote.run("clone", "-q", str(remote.folder), str(rival), folder=remote.work)
    hook = f"""
[ -z "$RIVAL" ] || exit 0
export RIVAL=1
left=$(cat "{rival}.left"); [ "$left" -gt 0 ] || exit 0
echo $((left - 1)) > "{rival}.left"
unset GIT_DIR GIT_QUARANTINE_PATH GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES
export GIT_AUTHOR_NAME=r GIT_AUTHOR_EMAIL=r GIT_COMMITTER_NAME=r GIT_COMMITTER_EMAIL=r
cd "{rival}" && echo $left >> rival.txt && git add rival.txt && git commit -qm "rival $left"
git push -q origin HEAD:main
"""
    (rival.with_name("rival.left")).write_text(str(times))
    remote.hook("pre-receive", hook)


def test_the_plan_shows_the_difference_and_changes_nothing(tmp_path: Path, asked: Any) -> None:
    async def main() -> None:
        async with world(tmp_path, asked) as here:
            plan = await here.plan(here.bad)
            assert here.remote.head() == here.bad
            assert plan.before == {"head": here.bad, "commit": here.bad}
            assert "-pool = 50\n+pool = 5\n" in plan.after["diff"]
            assert (await here.plan(here.bad[:8])).fingerprint == plan.fingerprint
            here.remote.commit("elsewhere", {"readme": "2\n"})
            assert (await here.plan(here.bad)).fingerprint != plan.fingerprint

    asyncio.run(main())


def test_a_revert_is_one_commit_on_the_branch_that_names_its_action(tmp_path: Path, asked: Any) -> None:
    async def main() -> None:
        async with world(tmp_path, asked) as here:
            assert await here.status("act_one") == "not_done"
            done = await here.revert(here.bad, fingerprint=(await here.plan(here.bad)).fingerprint)
            assert done.status is ResultStatus.OK
            assert done.value == {"branch": "main", "commit": here.remote.head(), "paths": ["checkout.toml"]}
            assert here.remote.show("checkout.toml") == GOOD.strip()
            assert here.remote.run("rev-parse", "main^", folder=here.remote.folder) == here.bad
            message = here.remote.run("log", "-1", "--format=%B", "main", folder=here.remote.folder)
            assert "\nWicketgate-Action: act_one\nWicketgate-Seal: " in message
            assert f"This reverts commit {here.bad}." in message
            assert await here.status("act_one") == "done"
            assert await here.status("act_on") == "not_done"

    asyncio.run(main())


def test_the_same_action_again_gives_the_same_commit_and_no_second_one(tmp_path: Path, asked: Any) -> None:
    async def main() -> None:
        async with world(tmp_path, asked) as here:
            first = await here.revert(here.bad)
            again = await here.revert(here.bad)
            fresh = connector(here.remote)
            grant, declared = here.asked.grant(
                "git.change.revert", SHOP, {"branch": "main", "commit": here.bad}, "act_one"
            )
            restarted = await fresh.execute(grant, declared)
            await fresh.aclose()
            assert first.value == again.value == restarted.value
            assert here.remote.count() == 3

    asyncio.run(main())


def test_the_rollback_of_the_plan_takes_the_revert_back(tmp_path: Path, asked: Any) -> None:
    async def main() -> None:
        async with world(tmp_path, asked) as here:
            plan = await here.plan(here.bad)
            assert plan.rollback is not None
            assert plan.rollback["arguments"] == {"branch": "main", "commit": "", "made_by": "act_one"}
            with pytest.raises(NotFound):
                await here.revert(id_="act_two", made_by="act_one")
            await here.revert(here.bad)
            here.remote.pull()
            here.remote.commit("elsewhere", {"readme": "2\n"})
            undone = await here.revert(id_="act_two", made_by="act_one")
            assert undone.status is ResultStatus.OK
            assert here.remote.show("checkout.toml") == BAD.strip()
            assert await here.status("act_two") == "done"

    asyncio.run(main())


def test_a_trailer_that_somebody_else_wrote_is_not_ours(tmp_path: Path, asked: Any) -> None:
    async def main() -> None:
        async with world(tmp_path, asked) as here:
            here.remote.commit("x\n\nWicketgate-Action: act_one", {"readme": "2\n"})
            assert await here.status("act_one") == "not_done"
            here.remote.environment = {"GIT_COMMITTER_EMAIL": "wicketgate@localhost"}
            here.remote.commit("Wicketgate-Action: act_one in the middle\n\ntext", {"readme": "3\n"})
            assert await here.status("act_one") == "not_done"
            # In the gate's own name, and with the trailers as the gate writes them: all but the key.
            here.remote.commit("x\n\nWicketgate-Action: act_one\nWicketgate-Seal: " + "0" * 64, {"readme": "4\n"})
            assert await here.status("act_one") == "not_done"
            with pytest.raises(NotFound):
                await here.plan(made_by="act_one")

    asyncio.run(main())


def test_a_seal_fits_no_other_commit_and_no_other_action(tmp_path: Path, asked: Any) -> None:
    async def main() -> None:
        async with world(tmp_path, asked) as here:
            await here.revert(here.bad)
            assert await here.status("act_one") == "done"
            genuine = here.remote.run("log", "-1", "--format=%B", "main", folder=here.remote.folder)
            assert "Wicketgate-Seal: " in genuine
            here.remote.environment = {"GIT_COMMITTER_EMAIL": "wicketgate@localhost"}
            here.remote.run("fetch", "-q", "origin")
            here.remote.run("reset", "-q", "--hard", "origin/main")
            here.remote.commit(genuine.replace("act_one", "act_two"), {"readme": "5\n"})
            assert await here.status("act_two") == "not_done"

    asyncio.run(main())


def test_a_branch_that_moved_after_the_plan_stops_the_revert(tmp_path: Path, asked: Any) -> None:
    async def main() -> None:
        async with world(tmp_path, asked) as here:
            plan = await here.plan(here.bad)
            later = here.remote.commit("elsewhere", {"readme": "2\n"})
            with pytest.raises(Conflict) as caught:
                await here.revert(here.bad, fingerprint=plan.fingerprint)
            assert caught.value.error_code == "approval.plan_drifted"
            assert here.remote.head() == later

    asyncio.run(main())


@pytest.mark.parametrize("rivals", [1, 3])
def test_a_rejected_push_is_made_again_on_the_new_head(tmp_path: Path, asked: Any, rivals: int) -> None:
    async def main() -> None:
        async with world(tmp_path, asked) as here:
            race(here.remote, rivals)
            done = await here.revert(here.bad, fingerprint=(await here.plan(here.bad)).fingerprint)
            assert done.status is ResultStatus.OK
            assert here.remote.show("checkout.toml") == GOOD.strip()
            assert len(here.remote.show("rival.txt").split()) == rivals
            assert here.remote.count() == 3 + rivals

    asyncio.run(main())


def test_a_race_that_is_never_won_ends_with_no_effect(tmp_path: Path, asked: Any) -> None:
    async def main() -> None:
        async with world(tmp_path, asked, push_attempts=2) as here:
            race(here.remote, 5)
            with pytest.raises(UpstreamFailed) as caught:
                await here.revert(here.bad)
            assert (caught.value.error_code, caught.value.sent) == ("git.push_contended", False)
            assert here.remote.show("checkout.toml") == BAD.strip()
            assert await here.status("act_one") == "not_done"

    asyncio.run(main())


def test_real_people_who_push_at_the_same_time_lose_nothing(tmp_path: Path, asked: Any) -> None:
    """Four reverts of four commits by four gates while a person pushes: all land, nothing is lost, nothing is forced."""

    async def main() -> None:
        async with world(tmp_path, asked) as here:
            bad = [here.remote.commit(f"bad {n}", {f"service{n}.toml": f"x = {n}\n"}) for n in range(4)]
            gates = [connector(here.remote, push_attempts=20) for _ in bad]

            async def one(gate: GitConnector, n: int) -> Result:
                arguments = {"branch": "main", "commit": bad[n]}
                grant, declared = here.asked.grant("git.change.revert", SHOP, arguments, f"act_{n}")
                return await gate.execute(grant, declared)

            def person() -> None:
                for n in range(3):
                    here.remote.commit(f"person {n}", {"notes": f"{n}\n"}, push=False)
                    for _ in range(30):
                        here.remote.run("fetch", "-q", "origin")
                        here.remote.run("rebase", "-q", "origin/main")
                        before = here.remote.run("rev-parse", "HEAD")
                        here.remote.run("push", "-q", "origin", "HEAD:main", check=False)
                        here.remote.run("fetch", "-q", "origin")
                        if here.remote.run("merge-base", "HEAD", "origin/main") == before:
                            break

            async with asyncio.TaskGroup() as group:
                person_done = group.create_task(asyncio.to_thread(person))
                done = [group.create_task(one(gate, n)) for n, gate in enumerate(gates)]
            await person_done
            assert all(task.result().status is ResultStatus.OK for task in done)
            assert here.remote.count() == 2 + 4 + 4 + 3
            assert here.remote.show("notes") == "2"
            left = here.remote.run("ls-tree", "--name-only", "main", folder=here.remote.folder).split()
            assert left == ["checkout.toml", "notes", "readme"]
            for gate in gates:
                await gate.aclose()

    asyncio.run(main())


def test_a_conflict_ends_with_a_clear_failure_and_no_effect(tmp_path: Path, asked: Any) -> None:
    async def main() -> None:
        async with world(tmp_path, asked) as here:
            later = here.remote.commit("raise again", {"checkout.toml": "pool = 500\ntimeout = 1\n"})
            for attempt in (here.plan(here.bad), here.revert(here.bad)):
                with pytest.raises(Conflict) as caught:
                    await attempt
                assert caught.value.error_code == "git.revert_conflict"
            assert here.remote.head() == later
            # The clone is as good as new after it.
            assert (await here.revert(later, id_="act_two")).status is ResultStatus.OK

    asyncio.run(main())


def test_a_race_that_changes_the_revert_itself_stops_it(tmp_path: Path, asked: Any) -> None:
    """The rival takes half of it back: the rest would be another change than the one that was planned."""

    async def main() -> None:
        async with world(tmp_path, asked) as here:
            both = here.remote.commit("two files", {"a": "1\n", "b": "1\n"})
            plan = await here.plan(both)
            race(here.remote, 1)
            hook = here.remote.folder / "hooks/pre-receive"
            hook.write_text(hook.read_text().replace("echo $left >> rival.txt && git add rival.txt", "git rm -q b"))
            here.remote.run("pull", "-q", folder=here.remote.work.with_name("rival"))
            with pytest.raises(Conflict) as caught:
                await here.revert(both, fingerprint=plan.fingerprint)
            assert caught.value.error_code in {"approval.plan_drifted", "git.revert_conflict"}
            assert here.remote.show("a") == "1"
            assert await here.status("act_one") == "not_done"

    asyncio.run(main())


def test_what_cannot_be_taken_back_is_refused_by_name(tmp_path: Path, asked: Any) -> None:
    async def main() -> None:
        async with world(tmp_path, asked, diff_bytes_max=2000) as here:
            big = here.remote.commit("big", {"big": "line\n" * 2000})
            await here.revert(here.bad)
            for code, arguments in (
                ("git.nothing_to_revert", {"commit": here.bad}),
                ("git.revert_too_large", {"commit": big}),
                ("request.arguments", {}),
                ("request.arguments", {"commit": big, "made_by": "act_one"}),
                ("git.branch_not_writable", {"commit": big, "branch": "release"}),
                ("git.unknown_commit", {"commit": "0" * 40}),
            ):
                with pytest.raises((Conflict, BadRequest, NotFound)) as caught:
                    await here.revert(id_="act_two", **arguments)
                assert caught.value.error_code == code
            assert here.remote.count() == 4

    asyncio.run(main())


def test_a_merge_is_taken_back_against_its_first_parent(tmp_path: Path, asked: Any) -> None:
    async def main() -> None:
        async with world(tmp_path, asked) as here:
            here.remote.run("checkout", "-q", "-b", "side")
            here.remote.commit("side", {"side": "1\n"}, push=False)
            here.remote.run("checkout", "-q", "main")
            here.remote.commit("meanwhile", {"readme": "2\n"})
            here.remote.run("merge", "-q", "--no-ff", "-m", "merge side", "side")
            here.remote.run("push", "-q", "origin", "main")
            await here.revert(here.remote.head())
            names = here.remote.run("ls-tree", "--name-only", "main", folder=here.remote.folder).split()
            assert names == ["checkout.toml", "readme"]
            assert here.remote.show("readme") == "2"

    asyncio.run(main())


def test_a_repository_that_says_no_is_believed(tmp_path: Path, asked: Any) -> None:
    async def main() -> None:
        async with world(tmp_path, asked) as here:
            here.remote.hook("pre-receive", "echo protected >&2; exit 1\n")
            with pytest.raises(UpstreamFailed) as caught:
                await here.revert(here.bad)
            assert (caught.value.error_code, caught.value.sent) == ("git.push_refused", False)
            assert here.remote.head() == here.bad
            assert await here.status("act_one") == "not_done"

    asyncio.run(main())


def test_a_push_that_arrives_late_is_in_doubt_until_it_shows(tmp_path: Path, asked: Any) -> None:
    """The remote holds the push until after our deadline, then takes it: never said to be undone, found as done."""

    async def main() -> None:
        async with world(tmp_path, asked, timeout_seconds=8.0) as here:
            gate, landed = tmp_path / "gate", tmp_path / "landed"
            os.mkfifo(gate)
            os.mkfifo(landed)
            # The hook outlives the connection: it is in a session of its own, as a server's would be.
            late = tmp_path / "late"
            late.write_text(
                f'#!/bin/sh\ncat {gate} >/dev/null\ncd {here.remote.folder}\ngit update-ref refs/heads/main "$1"\necho > {landed}\n'
            )
            late.chmod(0o755)
            here.remote.hook(
                "pre-receive",
                f"read old new ref\ngit -C {here.remote.folder} cat-file -e $new || exit 1\n"
                "cp $GIT_QUARANTINE_PATH/*/* -t . 2>/dev/null\n"
                "for pack in $GIT_QUARANTINE_PATH/*/*; do d=objects/$(basename $(dirname $pack)); mkdir -p $d; cp $pack $d/; done\n"
                f"unset GIT_QUARANTINE_PATH GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES\nsetsid {late} $new </dev/null >/dev/null 2>&1 &\ncat {gate}.never\nexec tail -f /dev/null\n",
            )
            with pytest.raises(UpstreamFailed) as caught:
                await here.revert(here.bad)
            assert (caught.value.error_code, caught.value.sent) == ("upstream.cut", True)
            assert await here.status("act_one") == "unknown"
            await asyncio.to_thread(gate.write_text, "go\n")
            await asyncio.to_thread(landed.read_text)
            assert await here.status("act_one") == "done"
            assert (await here.revert(here.bad)).status is ResultStatus.OK
            assert here.remote.count() == 3

    asyncio.run(main())


@pytest.mark.parametrize("dirty", [False, True])
def test_a_work_tree_beside_the_repository_follows_or_stops_the_push(tmp_path: Path, asked: Any, dirty: bool) -> None:
    async def main() -> None:
        async with world(tmp_path, asked) as here:
            live = tmp_path / "live"
            here.remote.run("clone", "-q", str(here.remote.folder), str(live), folder=tmp_path)
            if dirty:
                (live / "checkout.toml").write_text("by hand\n")
            one = GitRepositorySettings(id="shop", url=str(live), writable=("main",))
            adapter = GitConnector(GitSettings(name="git", repositories=(one,)), Egress(), SeededClock(), SEAL)
            grant, declared = here.asked.grant("git.change.revert", SHOP, {"branch": "main", "commit": here.bad})
            if dirty:
                with pytest.raises(UpstreamFailed) as caught:
                    await adapter.execute(grant, declared)
                assert (caught.value.error_code, caught.value.sent) == ("git.push_refused", False)
            else:
                await adapter.execute(grant, declared)
            assert (live / "checkout.toml").read_text() == ("by hand\n" if dirty else GOOD)
            await adapter.aclose()

    asyncio.run(main())


def test_no_private_work_tree_is_left_behind(tmp_path: Path, asked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(scratch))
        async with world(tmp_path / "w", asked) as here:
            await here.plan(here.bad)
            later = here.remote.commit("raise again", {"checkout.toml": "pool = 500\ntimeout = 1\n"})
            with pytest.raises(Conflict):
                await here.revert(here.bad)
            await here.revert(later)
            assert len(list(scratch.iterdir())) == 1  # the clone
        assert list(scratch.iterdir()) == []

    asyncio.run(main())
