"""What the supervisor can mend, and the past that it keeps, asked as the manifest declares it."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import yaml

from broker.errors import BadRequest, Conflict, NotFound, UpstreamFailed
from broker.model import Resource
from tests.parts import ROOT
from tests.unit.connectors.test_local import world

Run = Callable[[Coroutine[Any, Any, Any]], Any]
MANIFEST = (ROOT / "policies" / "manifests" / "local.yaml").read_text(encoding="utf-8")
WINDOW = {"metric": "shop_errors_total", "since_s": 1_000_000, "until_s": 1_000_060, "step_s": 5}


def _declared() -> dict[str, Any]:
    return dict(yaml.safe_load(MANIFEST)["actions"])


class _Manifest:
    """``asked`` with the manifest that the bundle carries."""

    def __init__(self, asked: Any) -> None:
        self._asked = asked

    def __call__(self, _: str) -> Any:
        return self._asked(MANIFEST)


@pytest.fixture
def declared(asked: Any) -> Any:
    return _Manifest(asked)


# -- a database and its schema --------------------------------------------------------------------------------------------


def test_what_a_database_lacks_of_its_schema_is_told_in_the_protocols_own_members(
    run: Run, declared: Any, tmp_path: Path
) -> None:
    async def main() -> None:
        async with world(tmp_path, declared) as machine:
            assert (await machine.act("local.schema.compare")).status.value == "empty"
            known = {"index": "by_sku", "table": "stock", "columns": ["sku"], "present": False}
            machine.supervisor.schema = [{**known, "note": "text of somebody's"}]
            result = await machine.act("local.schema.compare")
            assert (result.status.value, result.value) == ("ok", {"indexes": [known]})
            for garbage in ("text", [{"index": "by_sku"}], ["by_sku"], [{**known, "columns": 3}]):
                machine.supervisor.schema = garbage
                with pytest.raises(UpstreamFailed):
                    await machine.act("local.schema.compare")

    run(main())


# -- the kept past -----------------------------------------------------------------------------------------------------


def test_the_past_of_a_metric_is_series_of_points(run: Run, declared: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, declared) as machine:
            machine.supervisor.series = [
                {"labels": {"origin": "self"}, "points": [[1_000_000, "1"], [1_000_005, "2.5"]]}
            ]
            result = await machine.act("local.metrics.range", labels={"origin": "self"}, **WINDOW)
            assert result.value["series"] == machine.supervisor.series
            assert (result.status.value, result.units["rows"]) == ("ok", 2)
            assert machine.supervisor.asked == {"labels": {"origin": "self"}, **WINDOW}

    run(main())


def test_no_past_is_empty_and_too_many_series_are_truncated(run: Run, declared: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, declared) as machine:
            assert (await machine.act("local.metrics.range", **WINDOW)).status.value == "empty"
            machine.supervisor.series = [{"labels": {"n": str(n)}, "points": []} for n in range(3)]
            result = await machine.act("local.metrics.range", **WINDOW, series_max=2)
            assert (result.status.value, len(result.value["series"])) == ("truncated", 2)
            assert result.detail == "2 of 3 series"

    run(main())


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"since_s": 1_000_060}, "since_s"),
        ({"since_s": 1_000_061}, "since_s"),
        ({"since_s": 1_000_060 - 3601}, "since_s"),
    ],
)
def test_a_window_without_bounds_is_refused_before_it_leaves(
    run: Run, declared: Any, tmp_path: Path, changed: dict[str, int], field: str
) -> None:
    async def main() -> None:
        async with world(tmp_path, declared) as machine:
            with pytest.raises(BadRequest, match=field):
                await machine.act("local.metrics.range", **{**WINDOW, **changed})
            assert machine.supervisor.asked is None

    run(main())


def test_more_points_than_the_bound_are_refused(run: Run, declared: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, declared, points_max=12) as machine:
            with pytest.raises(BadRequest, match="step_s"):
                await machine.act("local.metrics.range", **WINDOW)

    run(main())


@pytest.mark.parametrize(
    "garbage", ["x", [1], [{"labels": {}}], [{"labels": [], "points": []}], [{"labels": {}, "points": [[1]]}]]
)
def test_a_past_that_is_no_series_is_garbage_and_not_a_result(
    run: Run, declared: Any, tmp_path: Path, garbage: object
) -> None:
    async def main() -> None:
        async with world(tmp_path, declared) as machine:
            machine.supervisor.series = garbage
            with pytest.raises(UpstreamFailed) as caught:
                await machine.act("local.metrics.range", **WINDOW)
            assert caught.value.error_code == "upstream.garbage"

    run(main())


# -- repairs -----------------------------------------------------------------------------------------------------------


def test_a_cache_is_moved_aside_and_its_rollback_brings_it_back(run: Run, declared: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, declared) as machine:
            machine.supervisor.caches["checkout"] = b"corrupt"
            plan = await machine.plan("local.cache.clear")
            digest = plan.before["cache"]["digest"]
            cleared = await machine.act("local.cache.clear", id_="act_c", fingerprint=plan.fingerprint)
            assert cleared.value["cache"]["after"] == {"present": False, "digest": "", "bytes": 0}
            assert machine.supervisor.caches == {}
            assert (await machine.adapter.status_of("act_c")).status == "done"

            undo = plan.rollback
            assert undo == {
                "action": "local.cache.restore",
                "resource": {"type": "process", "id": "checkout", "env": "prod"},
                "arguments": {"digest": digest},
            }
            await machine.act(undo["action"], id_="act_u", **undo["arguments"])
            assert machine.supervisor.caches == {"checkout": b"corrupt"}

    run(main())


def test_clearing_twice_is_clearing_once_and_nothing_to_clear_has_no_rollback(
    run: Run, declared: Any, tmp_path: Path
) -> None:
    async def main() -> None:
        async with world(tmp_path, declared) as machine:
            machine.supervisor.caches["checkout"] = b"corrupt"
            first = await machine.act("local.cache.clear", id_="act_c")
            machine.supervisor.caches["checkout"] = b"fresh"
            again = await machine.act("local.cache.clear", id_="act_c")
            assert again.value["cache"]["after"] == first.value["cache"]["after"]
            assert machine.supervisor.caches == {"checkout": b"fresh"}
            del machine.supervisor.caches["checkout"]
            assert (await machine.plan("local.cache.clear")).rollback is None
            assert (await machine.act("local.cache.clear", id_="act_d")).status.value == "ok"

    run(main())


def test_a_cache_that_changed_after_the_plan_is_left_alone(run: Run, declared: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, declared) as machine:
            machine.supervisor.caches["checkout"] = b"corrupt"
            plan = await machine.plan("local.cache.clear")
            machine.supervisor.caches["checkout"] = b"mended by hand"
            with pytest.raises(Conflict):
                await machine.act("local.cache.clear", fingerprint=plan.fingerprint)
            assert machine.supervisor.caches == {"checkout": b"mended by hand"}

    run(main())


def test_a_plan_for_a_cache_holds_while_its_process_crashes_on(run: Run, declared: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, declared) as machine:
            machine.supervisor.caches["checkout"] = b"corrupt"
            plan = await machine.plan("local.cache.clear")
            await machine.act("local.process.restart", id_="act_other_pid")
            assert (await machine.plan("local.cache.clear")).fingerprint == plan.fingerprint

    run(main())


def test_a_dead_process_is_started_and_a_running_one_is_left_alone(run: Run, declared: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, declared) as machine:
            child = machine.supervisor.children["checkout"]
            running = (await machine.act("local.process.start", id_="act_1")).value
            assert running["before"]["pid"] == running["after"]["pid"]
            os.kill(child.running.pid, 9)
            await asyncio.wait_for(child.running.wait(), 60)
            started = (await machine.act("local.process.start", id_="act_2")).value
            assert (started["before"]["state"], started["after"]["state"]) == ("failed", "running")

    run(main())


def test_an_index_is_created_and_a_supervisor_that_refuses_is_an_error(run: Run, declared: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, declared) as machine:
            await machine.act("local.index.create", id_="act_i", index="reservation_sku")
            assert machine.supervisor.indexes == {"reservation_sku"}
            machine.supervisor.refusing.add("checkout")
            refused = await machine.act("local.index.create", id_="act_j", index="reservation_sku")
            assert refused.status.value == "error"
            assert (await machine.adapter.status_of("act_j")).status == "not_done"

    run(main())


@pytest.mark.parametrize(
    "action", sorted(name for name, one in _declared().items() if one["resource_types"] == ["process"])
)
def test_no_action_reaches_a_process_that_the_settings_do_not_name(
    run: Run, declared: Any, tmp_path: Path, action: str
) -> None:
    arguments = {
        "local.metrics.query": {"metric": "x"},
        "local.metrics.range": WINDOW,
        "local.logs.search": {"window_seconds": 1},
        "local.cache.restore": {"digest": "0" * 64},
        "local.index.create": {"index": "x"},
    }

    async def main() -> None:
        async with world(tmp_path, declared) as machine:
            with pytest.raises(NotFound):
                await machine.act(
                    action, Resource(type="process", id="../etc", env="prod"), **arguments.get(action, {})
                )

    run(main())
