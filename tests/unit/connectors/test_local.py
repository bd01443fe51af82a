"""Real processes, real files, a real git repository."""

import asyncio
import contextlib
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from broker.clock import SeededClock, seconds
from broker.connectors.local import LocalConnector, LocalProcess, LocalSettings
from broker.connectors.local_metrics import pick_series
from broker.egress import Egress
from broker.errors import BadRequest, Conflict, NotFound, UpstreamFailed
from broker.model import Resource, Result
from tests.parts import require
from tests.sim.supervisor import Supervisor
from tests.sim.upstream import UpstreamSim, whole
from tests.unit.connectors.cases import SEAL

Run = Callable[[Coroutine[Any, Any, Any]], Any]
CHECKOUT = Resource(type="process", id="checkout", env="prod", region="eu-west-1")
CONFIG = Resource(type="config", id="checkout", env="prod")
EXPOSITION = b"""# HELP requests_total Requests.
# TYPE requests_total counter
requests_total{service="checkout",code="200"} 1027
requests_total{service="checkout",code="500"} 3
# TYPE latency_seconds histogram
latency_seconds_bucket{le="0.1"} 5
latency_seconds_bucket{le="+Inf"} 9
latency_seconds_sum 1.5
latency_seconds_count 9
# TYPE odd gauge
odd NaN
"""
READS = """
  {name}:
    title: A read
    effect: read
    reversibility: reversible
    idempotent: true
    arguments: {arguments}
"""
MANIFEST = "connector: local\nactions:" + "".join([
    READS.format(name="local.metrics.query", arguments="{metric: {type: string, required: true}, labels: {type: object}, series_max: {type: integer}}"),
    READS.format(name="local.logs.search", arguments="{pattern: {type: string}, mode: {enum: [substring, re2]}, window_seconds: {type: integer, required: true}, end_s: {type: integer}, lines_max: {type: integer}}"),
    READS.format(name="local.config.read", arguments="{}"),
    READS.format(name="local.config.write", arguments="{content: {type: string, required: true}, expected_blob: {type: string, required: true}}").replace("effect: read", "effect: write"),
    READS.format(name="local.process.status", arguments="{}"),
    READS.format(name="local.process.restart", arguments="{}").replace("effect: read", "effect: write"),
])  # fmt: skip


@dataclass
class World:
    """A machine with one supervised process, its metrics endpoint, its log and its configuration."""

    adapter: LocalConnector
    supervisor: Supervisor
    metrics: UpstreamSim
    log: Path
    repository: Path
    clock: SeededClock
    asked: Any

    async def act(
        self, action: str, resource: Resource = CHECKOUT, *, id_: str = "act_1", fingerprint: str = "", **arguments: Any
    ) -> Result:
        grant, declared = self.asked.grant(action, resource, arguments, id_, plan_fingerprint=fingerprint)
        return await self.adapter.execute(grant, declared)

    async def plan(self, action: str, resource: Resource = CHECKOUT, **arguments: Any) -> Any:
        return await self.adapter.plan(
            self.asked.request(action, resource, arguments), self.asked.catalog.action(action)
        )

    def git(self, *arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(self.repository), *arguments], check=True, capture_output=True, text=True
        ).stdout.strip()


@asynccontextmanager
async def world(
    tmp_path: Path, asked: Any, *, metrics: bytes = EXPOSITION, bare: bool = False, **more: Any
) -> AsyncIterator[World]:
    require("git")
    repository, log, clock = tmp_path / "config", tmp_path / "checkout.log", SeededClock()
    _repository(repository, bare=bare)
    log.touch()
    (tmp_path / "token").write_text("supervisor-token-1")
    control = str(tmp_path / "s")
    async with (
        Supervisor(("checkout",), unix=control, token="supervisor-token-1") as supervisor,
        UpstreamSim.fixed(whole(200, metrics, kind="text/plain; version=0.0.4")) as sim,
    ):
        egress = Egress()
        settings = LocalSettings(
            **{
                "supervisor_socket": control,
                "supervisor_token_file": str(tmp_path / "token"),
                "allow_networks": ("127.0.0.1/32",),
                "processes": (
                    LocalProcess(
                        id="checkout", metrics_url=sim.url + "/metrics", log_files=(str(tmp_path / "old.log"), str(log))
                    ),
                ),
                "config_repository": str(repository),
                "config_files": {"checkout": "services/checkout.toml", "fresh": "services/fresh.toml"},
                **more,
            }
        )
        (tmp_path / "old.log").touch()
        yield World(
            LocalConnector(settings, egress, clock, SEAL), supervisor, sim, log, repository, clock, asked(MANIFEST)
        )
        await egress.aclose()


def _repository(folder: Path, *, bare: bool) -> None:
    work = folder.with_name("seed") if bare else folder
    (work / "services").mkdir(parents=True)
    (work / "services" / "checkout.toml").write_text("timeout = 1\npool = 5\n")
    (work / "readme").write_text("other\n")
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=main", "-C", str(work)]
    for step in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *step], check=True, capture_output=True)
    if bare:
        subprocess.run(["git", "clone", "-q", "--bare", str(work), str(folder)], check=True, capture_output=True)


def _lines(clock: SeededClock, *ages: int, text: str = "line") -> str:
    now = seconds(clock)
    return "".join(f"{datetime.fromtimestamp(now - age, UTC).isoformat()} {text} {age}\n" for age in ages)


# -- metrics -----------------------------------------------------------------------------------------------------------


def test_series_are_picked_by_name_and_labels(run: Run, asked: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, asked) as machine:
            result = await machine.act("local.metrics.query", metric="requests_total", labels={"code": "500"})
            assert result.value["series"] == [
                {"name": "requests_total", "labels": {"service": "checkout", "code": "500"}, "value": 3}
            ]
            assert machine.metrics.seen[0].target == "/metrics"
            family = await machine.act("local.metrics.query", metric="latency_seconds")
            assert [row["value"] for row in family.value["series"]] == [5, 9, 1.5, 9]
            assert (await machine.act("local.metrics.query", metric="odd")).value["series"][0]["value"] == "NaN"

    run(main())


def test_no_series_is_empty_and_too_many_are_truncated(run: Run, asked: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, asked, series_max=1) as machine:
            assert (await machine.act("local.metrics.query", metric="nothing")).status.value == "empty"
            result = await machine.act("local.metrics.query", metric="requests_total", series_max=50)
            assert (result.status.value, result.detail, len(result.value["series"])) == (
                "truncated",
                "1 of 2 series",
                1,
            )

    run(main())


def test_an_endpoint_that_does_not_speak_the_text_format_fails(run: Run, asked: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, asked, metrics=b"<html>{not metrics") as machine:
            with pytest.raises(UpstreamFailed) as caught:
                await machine.act("local.metrics.query", metric="x")
            assert caught.value.error_code == "upstream.garbage"

    run(main())


@pytest.mark.parametrize("text", ["a{", 'a{b="c} 1', "a b c d", "a{b=1} 2", "# TYPE x\n", "\x00\x00 1"])
def test_a_broken_exposition_is_refused_or_empty_and_never_anything_else(text: str) -> None:
    with contextlib.suppress(UpstreamFailed):
        assert all(set(row) == {"name", "labels", "value"} for row in pick_series("x", text, "a", {}))


# -- logs --------------------------------------------------------------------------------------------------------------


def test_a_search_keeps_to_its_window_and_goes_through_rotated_files_in_time_order(
    run: Run, asked: Any, tmp_path: Path
) -> None:
    async def main() -> None:
        async with world(tmp_path, asked) as machine:
            (tmp_path / "old.log").write_text(_lines(machine.clock, 500, 90, 70))
            machine.log.write_text(_lines(machine.clock, 60, 30) + "  continued\n" + _lines(machine.clock, 5))
            result = await machine.act("local.logs.search", pattern="line", window_seconds=95)
            assert [line["text"].split()[-1] for line in result.value["lines"]] == ["90", "70", "60", "30", "5"]
            assert result.status.value == "ok"
            part = await machine.act("local.logs.search", pattern="continued", window_seconds=40)
            assert [line["at"] for line in part.value["lines"]] == [seconds(machine.clock) - 30]
            past = await machine.act("local.logs.search", window_seconds=20, end_s=seconds(machine.clock) - 50)
            assert [line["text"].split()[-1] for line in past.value["lines"]] == ["70", "60"]
            assert (await machine.act("local.logs.search", pattern="nobody", window_seconds=95)).status.value == "empty"

    run(main())


def test_json_lines_carry_their_time_in_a_member(run: Run, asked: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, asked) as machine:
            now = seconds(machine.clock)
            machine.log.write_text(f'{{"at":{now - 100},"m":"a"}}\n{{"ts":"2026-01-01T00:00:00Z","m":"b"}}\n[1]\n')
            result = await machine.act("local.logs.search", window_seconds=10)
            assert [line["text"] for line in result.value["lines"]] == ['{"ts":"2026-01-01T00:00:00Z","m":"b"}', "[1]"]

    run(main())


def test_what_was_not_searched_is_said(run: Run, asked: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, asked, scan_bytes_max=1000, line_bytes_max=20) as machine:
            machine.log.write_text(_lines(machine.clock, *range(90, 0, -1)))
            result = await machine.act("local.logs.search", window_seconds=100, lines_max=5)
            assert result.status.value == "truncated"
            assert result.units["bytes"] <= 1000
            assert [line["at"] for line in result.value["lines"]] == [
                seconds(machine.clock) - age for age in (5, 4, 3, 2, 1)
            ]
            assert "only the last" in result.detail
            assert "the newest 5 of" in result.detail
            assert "longer than 20 bytes" in result.detail

    run(main())


def test_a_search_reads_only_as_far_back_as_its_window(run: Run, asked: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, asked) as machine:
            machine.log.write_text(_lines(machine.clock, *range(40_000, 0, -1)))
            result = await machine.act("local.logs.search", window_seconds=10)
            assert (result.status.value, len(result.value["lines"])) == ("ok", 10)
            assert result.units["bytes"] < 70_000 < machine.log.stat().st_size

    run(main())


def test_a_pattern_is_linear_time_re2_and_a_wrong_one_is_refused(run: Run, asked: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, asked) as machine:
            machine.log.write_text(_lines(machine.clock, 5, text="a" * 3000 + "!"))
            assert (
                await machine.act("local.logs.search", pattern=r"(a+)+$", mode="re2", window_seconds=9)
            ).status.value == "empty"
            assert (
                await machine.act("local.logs.search", pattern=r"a{3}! \d$", mode="re2", window_seconds=9)
            ).status.value == "ok"
            with pytest.raises(BadRequest, match="RE2"):
                await machine.act("local.logs.search", pattern=r"(?=a)", mode="re2", window_seconds=9)

    run(main())


@pytest.mark.parametrize("window", [0, -1, 86_401])
def test_an_unbounded_search_is_refused(run: Run, asked: Any, tmp_path: Path, window: int) -> None:
    async def main() -> None:
        async with world(tmp_path, asked) as machine:
            with pytest.raises(BadRequest, match="window_seconds"):
                await machine.act("local.logs.search", window_seconds=window)

    run(main())


def test_a_pipe_in_the_place_of_a_log_file_does_not_hold_the_gate(run: Run, asked: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, asked) as machine:
            machine.log.unlink()
            os.mkfifo(machine.log)
            with pytest.raises(UpstreamFailed, match="not a plain file"):
                await machine.act("local.logs.search", window_seconds=9)

    run(main())


# -- configuration -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bare", [False, True])
def test_a_write_is_a_commit_that_its_plan_showed_and_its_rollback_undoes(
    run: Run, asked: Any, tmp_path: Path, *, bare: bool
) -> None:
    async def main() -> None:
        async with world(tmp_path, asked, bare=bare) as machine:
            read = (await machine.act("local.config.read", CONFIG)).value
            assert read["content"] == "timeout = 1\npool = 5\n"
            change = {"content": "timeout = 9\npool = 5\n", "expected_blob": read["blob"]}
            plan = await machine.plan("local.config.write", CONFIG, **change)
            assert "-timeout = 1\n+timeout = 9" in plan.after["diff"]
            assert machine.git("rev-parse", "main") == read["head"]
            assert (await machine.adapter.status_of("act_w")).status == "not_done"

            written = await machine.act(
                "local.config.write", CONFIG, id_="act_w", fingerprint=plan.fingerprint, **change
            )
            assert written.value["blob"] == plan.after["blob"]
            assert machine.git("rev-parse", "main") == written.value["head"]
            assert machine.git("show", "main:services/checkout.toml") == "timeout = 9\npool = 5"
            assert machine.git("show", "main:readme") == "other"
            assert machine.git("log", "-1", "--format=%cI", "main") == "2026-01-01T00:00:00+00:00"
            assert (await machine.adapter.status_of("act_w")).status == "done"
            if not bare:
                assert (machine.repository / "services" / "checkout.toml").read_text() == change["content"]
                assert machine.git("status", "--porcelain") == ""

            undo = plan.rollback
            assert undo["action"] == "local.config.write"
            await machine.act("local.config.write", CONFIG, id_="act_u", **undo["arguments"])
            assert machine.git("rev-parse", "main^{tree}") == machine.git("rev-parse", "main~2^{tree}")

    run(main())


def test_a_write_on_a_file_that_changed_is_a_conflict_and_changes_nothing(run: Run, asked: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, asked) as machine:
            read = (await machine.act("local.config.read", CONFIG)).value
            plan = await machine.plan("local.config.write", CONFIG, content="a", expected_blob=read["blob"])
            await machine.act("local.config.write", CONFIG, id_="act_2", content="b", expected_blob=read["blob"])
            head = machine.git("rev-parse", "main")
            for fingerprint in ("", plan.fingerprint):
                with pytest.raises(Conflict):
                    await machine.act(
                        "local.config.write",
                        CONFIG,
                        id_="act_3",
                        fingerprint=fingerprint,
                        content="a",
                        expected_blob=read["blob"],
                    )
            with pytest.raises(Conflict):
                await machine.plan("local.config.write", CONFIG, content="a", expected_blob=read["blob"])
            assert machine.git("rev-parse", "main") == head
            assert (await machine.adapter.status_of("act_3")).status == "not_done"

    run(main())


def test_of_many_writers_exactly_one_wins(run: Run, asked: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, asked, bare=True) as machine:
            other = LocalConnector(machine.adapter._settings, Egress(), machine.clock, SEAL)
            blob = (await machine.act("local.config.read", CONFIG)).value["blob"]
            grants = [
                machine.asked.grant(
                    "local.config.write", CONFIG, {"content": f"n = {n}\n", "expected_blob": blob}, f"act_{n}"
                )
                for n in range(6)
            ]
            results = await asyncio.gather(
                *((machine.adapter if n % 2 else other).execute(*grant) for n, grant in enumerate(grants)),
                return_exceptions=True,
            )
            won = [n for n, result in enumerate(results) if isinstance(result, Result)]
            assert len(won) == 1
            assert all(isinstance(result, Conflict) for n, result in enumerate(results) if n not in won)
            assert machine.git("show", "main:services/checkout.toml") == f"n = {won[0]}"
            assert machine.git("rev-list", "--count", "main") == "2"

    run(main())


def test_a_new_file_is_created_and_has_no_rollback(run: Run, asked: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, asked) as machine:
            fresh = Resource(type="config", id="fresh", env="prod")
            assert (await machine.act("local.config.read", fresh)).status.value == "empty"
            assert (await machine.plan("local.config.write", fresh, content="x", expected_blob="")).rollback is None
            await machine.act("local.config.write", fresh, content="x", expected_blob="")
            assert machine.git("show", "main:services/fresh.toml") == "x"

    run(main())


def test_hooks_of_the_repository_do_not_run(run: Run, asked: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, asked) as machine:
            for name in ("reference-transaction", "post-commit", "post-checkout", "post-index-change"):
                hook = machine.repository / ".git" / "hooks" / name
                hook.parent.mkdir(exist_ok=True)
                hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran-{name}\n")
                hook.chmod(0o755)
            blob = (await machine.act("local.config.read", CONFIG)).value["blob"]
            await machine.act("local.config.write", CONFIG, content="x", expected_blob=blob)

    run(main())
    assert list(tmp_path.glob("ran-*")) == []


def test_a_hand_edited_work_tree_is_never_overwritten_and_the_commit_stands(
    run: Run, asked: Any, tmp_path: Path
) -> None:
    async def main() -> None:
        async with world(tmp_path, asked) as machine:
            file = machine.repository / "services" / "checkout.toml"
            file.write_text("by hand\n")
            blob = (await machine.act("local.config.read", CONFIG)).value["blob"]
            with pytest.raises(UpstreamFailed) as caught:
                await machine.act("local.config.write", CONFIG, id_="act_h", content="x", expected_blob=blob)
            assert (caught.value.error_code, caught.value.sent) == ("config.work_tree", True)
            assert file.read_text() == "by hand\n"
            assert (await machine.adapter.status_of("act_h")).status == "done"

    run(main())


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../b", "-x", ".git/config", "", "a//b"])
def test_a_configured_path_that_leaves_the_repository_stops_the_start(path: str) -> None:
    with pytest.raises(BadRequest, match="config_files"):
        LocalConnector(LocalSettings(supervisor_socket="/s", config_files={"a": path}), Egress(), SeededClock(), SEAL)


# -- processes ---------------------------------------------------------------------------------------------------------


def test_a_restart_replaces_the_real_process_once(run: Run, asked: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, asked) as machine:
            before = (await machine.act("local.process.status")).value
            assert before["pid"] == machine.supervisor.children["checkout"].running.pid
            assert "note" not in before
            plan = await machine.plan("local.process.restart")
            assert plan.before == {"process": before}
            assert (await machine.adapter.status_of("act_r")).status == "not_done"

            result = await machine.act("local.process.restart", id_="act_r", fingerprint=plan.fingerprint)
            assert result.value["before"]["pid"] == before["pid"] != result.value["after"]["pid"]
            with pytest.raises(ProcessLookupError):
                os.kill(before["pid"], 0)
            assert (await machine.adapter.status_of("act_r")).status == "done"

            with pytest.raises(Conflict):
                await machine.act("local.process.restart", id_="act_s", fingerprint=plan.fingerprint)
            assert machine.supervisor.children["checkout"].restarts == 1

    run(main())


def test_a_plan_of_a_restart_is_bound_to_process_and_configuration(run: Run, asked: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, asked) as machine:
            prints = [(await machine.plan("local.process.restart")).fingerprint for _ in range(2)]
            assert prints[0] == prints[1]
            blob = (await machine.act("local.config.read", CONFIG)).value["blob"]
            await machine.act("local.config.write", CONFIG, id_="act_c", content="x", expected_blob=blob)
            prints.append((await machine.plan("local.process.restart")).fingerprint)
            await machine.act("local.process.restart", id_="act_d")
            prints.append((await machine.plan("local.process.restart")).fingerprint)
            assert len(set(prints)) == 3

    run(main())


def test_a_supervisor_that_is_gone_leaves_nothing_in_doubt_before_and_unknown_after(
    run: Run, asked: Any, tmp_path: Path
) -> None:
    async def main() -> None:
        async with world(tmp_path, asked) as machine:
            await machine.supervisor.server.__aexit__()
            (tmp_path / "s").unlink(missing_ok=True)
            with pytest.raises(UpstreamFailed) as caught:
                await machine.act("local.process.restart")
            assert not caught.value.sent
            restart = machine.asked.catalog.action("local.process.restart")
            assert (await machine.adapter.status_of("act_1", restart)).status == "unknown"

    run(main())


@pytest.mark.parametrize(
    "action",
    ["local.process.status", "local.process.restart", "local.metrics.query", "local.logs.search", "local.config.read"],
)
def test_what_the_settings_do_not_name_is_not_there(run: Run, asked: Any, tmp_path: Path, action: str) -> None:
    async def main() -> None:
        async with world(tmp_path, asked) as machine:
            arguments = {"local.metrics.query": {"metric": "x"}, "local.logs.search": {"window_seconds": 1}}.get(
                action, {}
            )
            with pytest.raises(NotFound):
                await machine.act(action, Resource(type="process", id="../etc", env="prod"), **arguments)

    run(main())
