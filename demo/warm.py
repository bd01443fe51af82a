"""A service's cache on disk: read at start, built anew where there is none, and believed only whole.

One file, ``warm.json``: ``{"checksum": sha256 of the canonical entries, "entries": {name: number}}``. A file that does not
hold what its checksum says ends the start, as a careful program does and an operator curses: nothing else than moving it
aside helps.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

FILE = "warm.json"


class Corrupt(Exception):
    """The cache on disk is not what was written; the text says what is wrong."""


def load(folder: Path, fresh: Mapping[str, int]) -> tuple[dict[str, int], bool]:
    """The entries, and whether they were built anew from ``fresh``. Raises ``Corrupt``."""
    path = folder / FILE
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_written(fresh))
        return dict(fresh), True
    try:
        kept = json.loads(content)
        entries, checksum = kept["entries"], kept["checksum"]
    except (ValueError, KeyError, TypeError):
        raise Corrupt(f"{FILE} ends in the middle of an entry ({len(content)} bytes)") from None
    if checksum != _checksum(entries):
        raise Corrupt(f"checksum of {FILE} does not match its {len(entries)} entries")
    return entries, False


def damage(folder: Path, share: float) -> int:
    """Cut the file as a write that was killed leaves it, at ``share`` of its length; the bytes that are left."""
    path = folder / FILE
    content = path.read_bytes()
    left = max(1, int(len(content) * share))
    path.write_bytes(content[:left])
    return left


def _written(entries: Mapping[str, int]) -> bytes:
    return json.dumps({"checksum": _checksum(entries), "entries": entries}).encode()


def _checksum(entries: Mapping[str, int]) -> str:
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()
