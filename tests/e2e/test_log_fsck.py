"""A verifier that is not ours, Tessera's fsck, reads what we publish."""

import asyncio
import subprocess
from pathlib import Path

from audit.checkpoint import parse_checkpoint
from audit.sqlite import SqliteStore
from tests.parts import require
from tests.unit.audit.room import TENANT, chain, forge, intent, open_log, publisher, put


def fsck(folder: Path) -> str:
    """Return the verdict line, or nothing.

    Its exit code says nothing: version 1.0.4 ends with 0 after a failed check, so only the words count. On some
    damage it waits forever, so it runs under a time limit, and waiting counts as refusing.
    """
    vkey = folder.with_name(folder.name + ".vkey")
    command = [require("fsck"), f"--storage_url=file://{folder}/", f"--public_key={vkey}", "--ui=false", "-N", "2"]
    done = subprocess.run(["timeout", "15", *command], capture_output=True, text=True, check=False)
    verdicts = [line.split("] ", 1)[1] for line in done.stderr.splitlines() if "Successfully fsck'd" in line]
    return "" if done.returncode or "fsck failed" in done.stderr or len(verdicts) != 1 else verdicts[0]


def test_it_accepts_every_size_of_a_growing_log(tmp_path: Path) -> None:
    async def grow(have: int, size: int) -> None:
        log = open_log(SqliteStore(tmp_path / "audit.db"), tmp_path)
        await log.start()
        await asyncio.gather(*(log.append(TENANT, intent(f"ev-{number}")) for number in range(have, size)))
        await log.aclose()

    have = 0
    for size in (0, 1, 5, 256, 257, 700):
        asyncio.run(grow(have, size))
        have = size
        publisher(SqliteStore(tmp_path / "audit.db"), tmp_path).publish_all()
        root = parse_checkpoint((tmp_path / "log" / "checkpoint").read_bytes())[0].root
        assert f"size {size} and root" in fsck(tmp_path / "log")
        assert root.hex() in fsck(tmp_path / "log")


def test_it_accepts_a_log_of_two_tile_levels(tmp_path: Path) -> None:
    folder = forge(tmp_path / "log", [b"entry %d" % number for number in range(256 * 256 + 300)])
    assert "size 65836 and root" in fsck(folder)


def test_it_refuses_damage_and_other_keys_so_its_yes_means_something(tmp_path: Path) -> None:
    folder = forge(tmp_path / "log", chain(5))
    assert "size 5 and root" in fsck(folder)
    tile = folder / "tile" / "0" / "000.p" / "5"
    content = tile.read_bytes()
    put(tile, bytes([content[0] ^ 1]) + content[1:])
    assert fsck(folder) == ""
    put(tile, content)
    forge(tmp_path / "other", [], key=bytes(32)).with_name("other.vkey").replace(tmp_path / "log.vkey")
    assert fsck(folder) == ""
