"""Every kind of system call that append and publisher rest on is made to kill the program or to fail.

What was acknowledged is there afterwards, the chain is whole, the published folder verifies at every moment, and
the next start goes on.
"""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from audit.errors import LogUnavailable
from audit.note import parse_vkey
from audit.source import Folder
from audit.sqlite import SqliteStore
from audit.verify import verify
from tests.parts import ROOT, require
from tests.unit.audit.room import TENANT, intent, open_log, publisher

APPENDS = 5


async def work(folder: Path, name: str) -> None:
    """Append one after the other, publish after each, and say what is durable."""
    store = SqliteStore(folder / "audit.db")
    log = open_log(store, folder)
    await log.start()
    for number in range(APPENDS):
        try:
            receipt = await log.append(TENANT, intent(f"{name}-{number}"))
        except LogUnavailable:
            continue
        sys.stdout.write(f"{name}-{number} {receipt.seq} {receipt.leaf}\n")
        sys.stdout.flush()
        try:
            publisher(store, folder).publish_all()
        except LogUnavailable:
            continue
    await log.aclose()


def run(folder: Path, name: str, injection: str) -> list[str]:
    """Run `work` in a process of its own under strace; return what it acknowledged."""
    calls = injection.split(":", maxsplit=1)[0]
    program = [sys.executable, "-m", "tests.e2e.test_log_crash", str(folder), name]
    command = [require("strace"), "-f", "-o", str(folder / "calls"), "-e", f"trace={calls}"]
    command += ["-e", f"inject={injection}", *program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode in {-9, 137} or "(INJECTED)" in (folder / "calls").read_text(), "the fault did not happen"
    return [line.strip() for line in done.stdout.splitlines(keepends=True) if line.endswith("\n")]


def assert_whole(folder: Path) -> None:
    if (folder / "log" / "checkpoint").exists():
        report = verify(Folder(folder / "log"), parse_vkey((folder / "log.vkey").read_text()))
        assert report.ok, report.as_text()


async def stored(folder: Path) -> set[str]:
    log = open_log(SqliteStore(folder / "audit.db"), folder)
    await log.start()
    entries = await log.read(TENANT, limit=1000)
    await log.aclose()
    return {f"{entry.id} {entry.seq} {entry.leaf}" for entry in entries}


@pytest.mark.parametrize(
    ("calls", "fault"),
    [
        ("fdatasync", "signal=SIGKILL"),
        ("pwrite64", "signal=SIGKILL"),
        ("fsync", "signal=SIGKILL"),
        ("rename", "signal=SIGKILL"),
        ("fdatasync", "error=EIO"),
        ("pwrite64", "error=EIO"),
        ("pwrite64", "error=ENOSPC"),
        ("fsync", "error=EIO"),
        ("rename", "error=ENOSPC"),
    ],
)
def test_no_acknowledged_record_is_lost_and_the_next_start_goes_on(tmp_path: Path, calls: str, fault: str) -> None:
    asyncio.run(work(tmp_path, "first"))
    acknowledged: list[str] = []
    for position in (2, 5) if "SIGKILL" in fault else (3,):
        acknowledged += run(tmp_path, f"at{position}", f"{calls}:{fault}:when={position}")
        assert_whole(tmp_path)
    assert set(acknowledged) <= asyncio.run(stored(tmp_path))
    asyncio.run(work(tmp_path, "last"))
    publisher(SqliteStore(tmp_path / "audit.db"), tmp_path).publish_all()
    assert_whole(tmp_path)
    final = asyncio.run(stored(tmp_path))
    assert set(acknowledged) <= final
    assert {f"last-{number}" for number in range(APPENDS)} <= {line.split()[0] for line in final}


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1]), sys.argv[2]))
