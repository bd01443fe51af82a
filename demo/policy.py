"""The policy of a run: the repository's own, with the rest between two remedies on one target shortened by ``policy.json``.

In production a target rests for minutes between two remedies (``remedy.cooldown_s`` of the manifests). Who runs the
demonstration twice in one folder waits seconds instead. Nothing else differs; the gate signs and serves this copy as its
policy, so that it stands in the log by its own digest.
"""

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "policies"
CHANGED = Path(__file__).with_name("policy.json")


def rests() -> Mapping[str, int]:
    """Seconds of rest by action, as the demonstration has them."""
    return dict(json.loads(CHANGED.read_text(encoding="utf-8"))["cooldown_s"])


def write(folder: Path) -> list[str]:
    """Write the policy of a run into ``folder``; what differs from the repository's, in words.

    Raises ``ValueError`` for an action whose manifest has no rest to shorten.
    """
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(SOURCE, folder)
    told = []
    for action, seconds in rests().items():
        path = folder / "manifests" / f"{action.partition('.')[0]}.yaml"
        text, before = _shortened(path.read_text(encoding="utf-8"), action, seconds)
        path.write_text(text, encoding="utf-8")
        told.append(f"{action} {seconds} s instead of {before} s")
    return told


def _shortened(manifest: str, action: str, seconds: int) -> tuple[str, int]:
    """The manifest with another rest for one action, and the rest that it had."""
    begin = re.search(rf"^  {re.escape(action)}:$", manifest, re.MULTILINE)
    if begin is None:
        raise ValueError(f"no manifest declares `{action}`")
    following = re.compile(r"^  [a-z]", re.MULTILINE).search(manifest, begin.end())
    end = following.start() if following else len(manifest)
    found = re.compile(r"cooldown_s: (\d+)$", re.MULTILINE).search(manifest, begin.end(), end)
    if found is None:
        raise ValueError(f"`{action}` is no remedy with a rest")
    return f"{manifest[: found.start(1)]}{seconds}{manifest[found.end(1) :]}", int(found[1])
