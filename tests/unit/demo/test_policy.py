"""The policy of a run is the repository's, but for the rests that its own file names."""

import filecmp
from pathlib import Path

import pytest
import yaml

from demo import policy


def _rest(folder: Path, action: str) -> int:
    manifest = yaml.safe_load((folder / "manifests" / f"{action.partition('.')[0]}.yaml").read_text())
    return int(manifest["actions"][action]["remedy"]["cooldown_s"])


def test_only_the_named_rests_differ_and_they_are_shorter(tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    told = policy.write(folder)
    rests = policy.rests()
    assert len(told) == len(rests) == 3
    for action, seconds in rests.items():
        assert _rest(folder, action) == seconds < _rest(policy.SOURCE, action)
        assert f"{action} {seconds} s instead of {_rest(policy.SOURCE, action)} s" in told
    paths = [path for path in policy.SOURCE.rglob("*") if path.is_file()]
    changed = [path for path in paths if not filecmp.cmp(path, folder / path.relative_to(policy.SOURCE), shallow=False)]
    assert {path.name for path in changed} == {"git.yaml", "local.yaml"}
    for path in changed:
        before, after = (
            path.read_text().splitlines(),
            (folder / path.relative_to(policy.SOURCE)).read_text().splitlines(),
        )
        differing = [(one, other) for one, other in zip(before, after, strict=True) if one != other]
        assert all(one.strip().startswith("cooldown_s:") for one, _ in differing)


def test_the_repository_s_own_policy_lets_a_target_rest_for_minutes() -> None:
    assert all(_rest(policy.SOURCE, action) >= 300 for action in policy.rests())


@pytest.mark.parametrize("action", ["git.nothing.done", "local.process.status", "git.history.list"])
def test_a_rest_of_what_has_none_stops_the_run(action: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "rests", lambda: {action: 5})
    with pytest.raises(ValueError, match=action):
        policy.write(tmp_path / "policies")
