"""The embedded engine against policies that misbehave: real processes, real kills."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from broker.errors import BadRequest, PolicyUnavailable
from broker.policy import battery
from broker.policy.engine import EngineInfo
from broker.policy.regorus import Bounds, Program, RegorusEngine, _probe, syntax_trees
from tests.parts import ROOT

INFO = EngineInfo("regorus", "0", "7", "digest")
REGO = r"""package broker.main

decision := {"answer": answer}

answer := "quick" if input.ask == "quick"

answer := n if {
	input.ask == "burn"
	n := count([1 | some a in numbers.range(1, 400); some b in numbers.range(1, 400); some c in numbers.range(1, 400); a == b; b == c])
}

answer := startswith(input.secret, "x") if input.ask == "wrong type"

answer := strings.count("abc", input.empty) if input.ask == "panic"

answer := count(numbers.range(1, 900000000)) if input.ask == "memory"
"""


def engine_of(rego: str = REGO, *, wall_seconds: float = 30.0, **bounds: Any) -> Any:
    """An engine that a machine without time for it does not hurry: what runs away is ended by its own CPU time."""
    bounded = Bounds(wall_seconds=wall_seconds, **bounds)
    return RegorusEngine.start(Program({"broker/main.rego": rego}, {}), INFO, bounded)


def question(ask: str, **more: Any) -> bytes:
    return orjson.dumps({"ask": ask, **more})


async def code_of(engine: Any, body: bytes) -> str:
    with pytest.raises(PolicyUnavailable) as caught:
        await engine.decide(body)
    return caught.value.error_code


async def quick(engine: Any) -> bool:
    answer = await engine.decide(question("quick"))
    return orjson.loads(answer.value) == {"answer": "quick"} and answer.revision == "7"


def pids(engine: Any) -> list[int]:
    return [worker._process.pid for worker in engine._workers]


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def command_of(pid: int) -> str:
    """What a process runs; nothing of one that ended, or does so while it is read."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def look_into(pid: int) -> tuple[bytes, list[str]]:
    """Environment and kinds of open descriptors of a process."""
    place = Path(f"/proc/{pid}")
    opened = sorted(str(each.readlink()).partition(":")[0] for each in (place / "fd").iterdir())
    return (place / "environ").read_bytes(), opened


def test_a_runaway_policy_is_killed_and_the_next_decision_works(run: Any) -> None:
    async def main() -> None:
        engine = await engine_of()
        assert await code_of(engine, question("burn")) == "policy.engine_timeout"
        assert await quick(engine)
        await engine.aclose()

    run(main())


def test_the_bound_is_the_workers_own_cpu_time_not_the_clock(run: Any) -> None:
    async def main() -> None:
        engine = await engine_of(cpu_seconds=0.02, workers=1)
        (pid,) = pids(engine)
        assert await code_of(engine, question("burn")) == "policy.engine_timeout"
        assert not alive(pid)
        await engine.aclose()

    run(main())


def test_requests_behind_a_killed_one_are_answered_by_the_other_worker(run: Any) -> None:
    async def main() -> None:
        engine = await engine_of(workers=2)
        burning = [asyncio.ensure_future(code_of(engine, question("burn")))]
        await asyncio.sleep(0)
        answers = await asyncio.gather(*(quick(engine) for _ in range(40)))
        assert answers == [True] * 40
        assert await burning[0] == "policy.engine_timeout"
        await engine.aclose()

    run(main())


def test_both_workers_may_run_away_at_once_and_come_back(run: Any) -> None:
    async def main() -> None:
        engine = await engine_of(workers=2)
        codes = await asyncio.gather(*(code_of(engine, question("burn")) for _ in range(2)))
        assert codes == ["policy.engine_timeout"] * 2
        assert await quick(engine)
        await engine.aclose()

    run(main())


def test_a_worker_that_stands_still_is_ended_by_the_clock(run: Any) -> None:
    async def main() -> None:
        engine = await engine_of(workers=1)
        (pid,) = pids(engine)
        engine._workers[0]._bounds = Bounds(wall_seconds=0.2)  # of this one: who follows it has its time
        os.kill(pid, signal.SIGSTOP)
        assert await code_of(engine, question("quick")) == "policy.engine_timeout"
        assert not alive(pid)
        while not engine._workers:
            await engine._ready.wait()
        assert await quick(engine)
        await engine.aclose()

    run(main())


def test_a_worker_that_is_killed_from_outside_is_replaced(run: Any) -> None:
    async def main() -> None:
        engine = await engine_of(workers=2)
        before = pids(engine)
        lost = [worker.closed for worker in engine._workers]
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        await asyncio.gather(*lost)
        assert await quick(engine)
        assert not set(before) & set(pids(engine))
        await engine.aclose()

    run(main())


def test_a_panic_of_the_engine_is_one_answer_and_ends_nothing(run: Any) -> None:
    async def main() -> None:
        engine = await engine_of(workers=1)
        before = pids(engine)
        with pytest.raises(PolicyUnavailable, match="PanicException") as caught:
            await engine.decide(question("panic", empty=""))
        assert caught.value.error_code == "policy.engine_error"
        assert await quick(engine)
        assert pids(engine) == before
        await engine.aclose()

    run(main())


def test_an_error_never_carries_a_value_of_the_input(run: Any) -> None:
    async def main() -> None:
        engine = await engine_of(workers=1)
        with pytest.raises(PolicyUnavailable) as caught:
            await engine.decide(question("wrong type", secret=4111111111111111))
        error = caught.value
        assert error.error_code == "policy.engine_error"
        texts = [error.detail, error.error_remedy, str(error), repr(error)]
        assert not any("4111" in text for text in texts)
        await engine.aclose()

    run(main())


def test_a_policy_that_eats_memory_ends_only_its_worker(run: Any) -> None:
    async def main() -> None:
        engine = await engine_of(workers=1, cpu_seconds=5.0)
        assert await code_of(engine, question("memory")) in {"policy.engine_down", "policy.engine_error"}
        assert await quick(engine)
        await engine.aclose()

    run(main())


def test_an_undefined_decision_is_no_result(run: Any) -> None:
    async def main() -> None:
        engine = await engine_of(workers=1)
        assert await code_of(engine, question("nothing of that kind")) == "policy.no_result"
        assert await code_of(engine, b"{") == "policy.engine_error"
        assert await code_of(engine, b"\xff") == "policy.engine_error"
        await engine.aclose()

    run(main())


def test_one_request_never_sees_the_input_of_another(run: Any) -> None:
    echo = 'package broker.main\n\ndecision := {"n": input.n}\n'

    async def main() -> None:
        engine = await engine_of(echo)

        async def one(n: int) -> int:
            body = orjson.dumps({"n": n}) if n % 3 else b'{"n": broken'
            try:
                return orjson.loads((await engine.decide(body)).value)["n"]
            except PolicyUnavailable:
                return -n

        found = await asyncio.gather(*(one(n) for n in range(1, 300)))
        assert found == [n if n % 3 else -n for n in range(1, 300)]
        await engine.aclose()

    run(main())


def test_a_caller_that_goes_away_disturbs_nobody(run: Any) -> None:
    echo = 'package broker.main\n\ndecision := {"n": input.n}\n'

    async def main() -> None:
        engine = await engine_of(echo, workers=1)
        leaving = asyncio.ensure_future(engine.decide(b'{"n":1}'))
        staying = asyncio.ensure_future(engine.decide(b'{"n":2}'))
        await asyncio.sleep(0)
        leaving.cancel()
        assert orjson.loads((await staying).value) == {"n": 2}
        await engine.aclose()

    run(main())


def test_closing_answers_what_is_in_flight_and_leaves_no_process(run: Any) -> None:
    async def main() -> None:
        engine = await engine_of()
        before = pids(engine)
        asked = [asyncio.ensure_future(quick(engine)) for _ in range(20)]
        await asyncio.sleep(0)
        await engine.aclose()
        assert await asyncio.gather(*asked) == [True] * 20
        assert not any(alive(pid) for pid in before)
        assert await code_of(engine, question("quick")) == "policy.engine_down"

    run(main())


def test_a_program_that_does_not_load_is_refused_with_its_place(run: Any) -> None:
    async def main() -> None:
        with pytest.raises(BadRequest, match=r"broker/main\.rego:4:"):
            await engine_of("package broker.main\n\ndecision := {{\n")

    run(main())


def test_the_worker_has_an_empty_environment_and_no_other_descriptor(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_GATE", "sesame")

    async def main() -> tuple[bytes, list[str]]:
        engine = await engine_of(workers=1)
        found = look_into(*pids(engine))
        await engine.aclose()
        return found

    with Path("/dev/null").open() as another:
        os.set_inheritable(another.fileno(), True)
        environment, opened = run(main())
    assert environment == b"RUST_BACKTRACE=0\0"
    assert opened == ["/dev/null"] * 3 + ["socket"]


def test_the_installed_engine_passes_every_probe(run: Any) -> None:
    assert len(battery.EXPECTED) >= 40
    run(_probe(Bounds()))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("max([10, 9])", "9"),
        ("sort([10, 9, 100])", "[10, 100, 9]"),
        ('object.union({"a": {"b": 1}}, {"a": {"c": 2}})', '{"a": {"c": 2}}'),
        ("count(input.nul)", "4"),
        ("input.twice", "1"),
    ],
)
def test_an_engine_that_differs_in_one_probe_is_refused(
    run: Any, monkeypatch: pytest.MonkeyPatch, right: str, wrong: str
) -> None:
    assert right in battery.MODULE
    monkeypatch.setattr(battery, "MODULE", battery.MODULE.replace(right, wrong))
    with pytest.raises(BadRequest) as caught:
        run(_probe(Bounds()))
    assert caught.value.error_code == "policy.engine_unfit"


def test_syntax_trees_come_back_in_order_with_errors_in_place(run: Any) -> None:
    found = run(syntax_trees([("a.rego", "package a\n"), ("b.rego", "package"), ("c.rego", "package c\n")]))
    assert [sorted(each) for each in found] == [["tree"], ["error"], ["tree"]]


def test_the_engine_works_on_the_loop_that_the_gate_runs_on() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def main() -> None:
        engine = await engine_of()
        assert await quick(engine)
        assert await code_of(engine, question("burn")) == "policy.engine_timeout"
        assert await quick(engine)
        await engine.aclose()

    uvloop.run(main())


def test_workers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    """A gate that is killed leaves no worker behind: an idle one sees the end of its socket, a busy one its bound."""
    script = tmp_path / "gate.py"
    script.write_text(
        "import asyncio, os\n"
        "from broker.policy.engine import EngineInfo\n"
        "from broker.policy.regorus import Bounds, Program, RegorusEngine\n"
        "async def main():\n"
        "    program = Program({'m.rego': 'package broker.main\\n\\ndecision := {}\\n'}, {})\n"
        "    engine = await RegorusEngine.start(program, EngineInfo('', '', '', ''), Bounds())\n"
        "    print(*(worker._process.pid for worker in engine._workers), flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=False, env={"PYTHONPATH": str(ROOT)}
    )
    workers = [int(pid) for pid in done.stdout.split()]
    assert len(workers) == 2
    while any("worker.py" in command_of(pid) for pid in workers):
        os.sched_yield()
