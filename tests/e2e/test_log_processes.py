"""Several processes append to one log at once; some are killed."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from audit.note import parse_vkey
from audit.postgres import PostgresStore
from audit.record import Draft
from audit.source import Folder
from audit.sqlite import SqliteStore
from audit.store import Store
from audit.verify import verify
from tests.parts import ROOT, fresh_database
from tests.unit.audit.room import TENANT, intent, open_log, publisher


def open_store(place: str) -> Store:
    return PostgresStore(place, wait_seconds=30) if "://" in place else SqliteStore(Path(place), busy_seconds=30)


async def append_all(place: str, folder: str, name: str, count: int) -> None:
    """Append `count` records in one process and print the number of each that is durable."""
    log = open_log(open_store(place), Path(folder), commit_seconds=90)
    await log.start()

    async def one(number: int) -> None:
        draft = Draft(**{**_fields(intent(f"{name}-{number}")), "stream": f"ses_{name}"})
        receipt = await log.append(TENANT, draft)
        sys.stdout.write(f"{draft.id} {receipt.seq} {receipt.leaf}\n")
        sys.stdout.flush()

    await asyncio.gather(*(one(number) for number in range(count)))
    await log.aclose()


def _fields(draft: Draft) -> dict[str, object]:
    return {name: getattr(draft, name) for name in Draft.__slots__}


def start(place: str, folder: Path, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.e2e.test_log_processes", place, str(folder), name, str(count)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def prepare(place: str, folder: Path) -> None:
    """Make keys and tables, as the first start does."""
    asyncio.run(append_all(place, str(folder), "first", 1))


def assert_linear(place: str, folder: Path, lines: list[str], *, exactly: bool) -> None:
    publisher(open_store(place), folder).publish_all()
    report = verify(Folder(folder / "log"), parse_vkey((folder / "log.vkey").read_text()))
    assert report.ok, report.as_text()

    async def stored() -> set[str]:
        log = open_log(open_store(place), folder, commit_seconds=90)
        await log.start()
        entries = await log.read(TENANT, limit=10_000)
        await log.aclose()
        return {f"{entry.id} {entry.seq} {entry.leaf}" for entry in entries if not entry.id.startswith("first")}

    found = asyncio.run(stored())
    acknowledged = {line for line in lines if line}
    assert acknowledged <= found
    assert not exactly or acknowledged == found


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_four_processes_make_one_line(database: str, tmp_path: Path) -> None:
    place = fresh_database() if database == "postgres" else str(tmp_path / "audit.db")
    prepare(place, tmp_path)
    running = [start(place, tmp_path, f"p{number}", 32) for number in range(4)]
    lines = "".join(process.communicate(timeout=60)[0] for process in running).splitlines()
    assert [process.returncode for process in running] == [0] * 4
    assert len(lines) == 128
    assert_linear(place, tmp_path, lines, exactly=True)


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_killed_processes_lose_no_record_that_they_acknowledged(database: str, tmp_path: Path) -> None:
    place = fresh_database() if database == "postgres" else str(tmp_path / "audit.db")
    prepare(place, tmp_path)
    lines: list[str] = []
    for round_ in range(2):
        running = [start(place, tmp_path, f"r{round_}p{number}", 2000) for number in range(2)]
        for process in running:
            assert process.stdout is not None
            lines += [process.stdout.readline().strip() for _ in range(20)]
        for process in running:
            process.send_signal(signal.SIGKILL)
            with process:
                assert process.stdout is not None
                lines += [line for line in process.stdout if line.endswith("\n")]
    assert_linear(place, tmp_path, [line.strip() for line in lines], exactly=False)


if __name__ == "__main__":
    asyncio.run(append_all(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
