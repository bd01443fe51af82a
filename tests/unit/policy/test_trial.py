"""What a bundle proves of itself is really run: a broken golden, test, rule or schema shows, and time ends it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from broker.policy.bundle import Bundle, build_bundle
from broker.policy.trial import Ended, Stands, Trial, Trying
from tests.unit.policies.engines import POLICIES

GOOD = 'package broker.main_test\n\nimport data.broker.main\n\ntest_unknown_is_denied if {\n\tmain.decision.effect == "deny" with input as {}\n}\n'


async def try_out(bundle: Bundle, *, seconds: float, asks: Any) -> Trial:
    """To its end."""
    return await Trying(bundle, seconds=seconds, asks=asks, crashed=unexpected).seen(seconds + 60)


def unexpected(error: BaseException) -> None:
    raise AssertionError from error


def by_name(trial: Any) -> dict[str, Any]:
    return {one.name: one for one in trial.cases}


def test_goldens_and_unit_tests_are_run_and_a_broken_one_is_seen(run: Any, folder: Path, build: Any) -> None:
    (folder / "broker/main/main_test.rego").write_text(GOOD + "\ntest_wrong if 1 == 2\n\nnot_a_test := 5\n")
    trial = run(try_out(build("1"), seconds=90, asks={}))
    cases = by_name(trial)
    assert trial.findings == ()
    assert trial.stands is Stands.COMPLETE
    assert cases["data.broker.main_test.test_unknown_is_denied"].ended is Ended.PASSED
    wrong = cases["data.broker.main_test.test_wrong"]
    assert (wrong.ended, wrong.file, wrong.line) == (Ended.FAILED, "broker/main/main_test.rego", 9)
    assert not any("not_a_test" in name for name in cases)
    goldens = [one for one in trial.cases if one.kind == "golden"]
    assert goldens
    assert {one.ended for one in goldens} == {Ended.PASSED}
    path = folder / "golden" / "main.yaml"
    path.write_text(path.read_text().replace("tier: 4", "tier: 3"))
    broken = [one for one in run(try_out(build("2"), seconds=90, asks={})).cases if one.ended is Ended.FAILED]
    assert "tier is 4, expected 3" in " ".join(one.detail for one in broken if one.kind == "golden")


def test_a_test_file_that_does_not_parse_and_one_that_never_ends_are_failures_not_faults(
    run: Any, folder: Path, build: Any
) -> None:
    (folder / "broker/main/main_test.rego").write_text("package broker.main_test\n\ntest_x if {\n")
    trial = run(try_out(build("1"), seconds=90, asks={}))
    (test,) = [one for one in trial.cases if one.kind == "test"]
    assert test.ended is Ended.FAILED
    endless = "test_endless if {\n\tcount([1 | some a in numbers.range(1, 3000); some b in numbers.range(1, 3000); a + b == 1]) == 5\n}\n"
    (folder / "broker/main/main_test.rego").write_text(GOOD + "\n" + endless)
    cases = by_name(run(try_out(build("2"), seconds=90, asks={})))
    assert cases["data.broker.main_test.test_endless"].ended is Ended.FAILED
    assert cases["data.broker.main_test.test_endless"].detail.startswith("policy.engine_")
    assert cases["data.broker.main_test.test_unknown_is_denied"].ended is Ended.PASSED


def test_what_time_did_not_reach_is_called_not_run(run: Any, build: Any) -> None:
    trial = run(try_out(build("1"), seconds=0.0, asks={}))
    assert trial.stands is Stands.TIME
    assert trial.cases
    assert {one.ended for one in trial.cases} == {Ended.NOT_RUN}


def test_a_trial_runs_on_when_nobody_waits_and_each_look_says_how_far_it_is(run: Any, build: Any) -> None:
    async def main() -> None:
        place = asyncio.Semaphore(0)
        trying = Trying(build("1"), seconds=90, asks={}, crashed=unexpected, places=place)
        first = await trying.seen(0.0)
        assert (first.stands, trying.fell_short) == (Stands.UNDER_WAY, False)
        place.release()
        last = await trying.seen(60)
        assert (last.stands, trying.fell_short) == (Stands.COMPLETE, False)
        assert {one.ended for one in last.cases} == {Ended.PASSED}
        assert not place.locked(), "the place is free again"
        assert await trying.seen(0.0) == last
        stopped = Trying(build("1"), seconds=90, asks={}, crashed=unexpected, places=asyncio.Semaphore(0))
        await stopped.aclose()
        assert stopped.fell_short
        assert (await stopped.seen(0.0)).stands is Stands.STOPPED

    run(main())


def test_what_the_engine_does_not_take_is_called_refused_and_is_not_tried_again(
    run: Any, folder: Path, build: Any
) -> None:
    path = folder / "broker/main/main.rego"
    path.write_text(path.read_text() + "\nunfit if {\n")

    async def main() -> None:
        trying = Trying(build("1"), seconds=90, asks={}, crashed=unexpected)
        trial = await trying.seen(80)
        assert (trial.stands, trying.fell_short) == (Stands.REFUSED, False)
        assert trial.findings
        assert {one.ended for one in trial.cases} == {Ended.NOT_RUN}

    run(main())


def test_what_breaks_a_trial_is_told_once_to_who_looks_or_else_to_the_gate(run: Any, build: Any) -> None:
    class Broken(asyncio.Semaphore):
        async def __aenter__(self) -> None:
            await super().__aenter__()
            raise OSError("no place")

    async def main() -> None:
        told: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        place = Broken(0)
        alone = Trying(build("1"), seconds=90, asks={}, crashed=told.set_result, places=place)
        await alone.seen(0.0)
        place.release()
        assert str(await asyncio.wait_for(told, 60)) == "no place"
        assert alone.fell_short
        watched = Trying(build("1"), seconds=90, asks={}, crashed=unexpected, places=Broken(1))
        with pytest.raises(OSError, match="no place"):
            await watched.seen(20)
        assert watched.fell_short

    run(main())


def test_findings_of_the_load_gate_are_all_told(run: Any, folder: Path, build: Any) -> None:
    text = (folder / "broker/main/main.rego").read_text()
    (folder / "broker/main/main.rego").write_text(text + "\nhalf := 1.5\n")
    trial = run(try_out(build("1"), seconds=90, asks={}))
    assert any("1.5" in one or "float" in one for one in trial.findings)


def test_the_answers_to_asks_are_the_bundles_own(run: Any, build: Any, ask: Any) -> None:
    asks = {"may": ask("oncall"), "may-not": ask("nobody"), "unfit": {"schema": "x"}}
    answers = run(try_out(build("1"), seconds=90, asks=asks)).answers
    assert (answers["may"]["effect"], answers["may-not"]["effect"]) == ("permit", "deny")
    assert answers["unfit"]["effect"] == "policy.bad_input"


def test_every_unit_test_of_the_projects_policy_holds_on_the_embedded_engine_too(run: Any, key: Any) -> None:
    trial = run(try_out(build_bundle(POLICIES, key, "1"), seconds=60, asks={}))
    assert [one for one in trial.cases if one.ended is not Ended.PASSED] == []
    assert sum(one.kind == "test" for one in trial.cases) > 90
    assert sum(one.kind == "golden" for one in trial.cases) > 250
