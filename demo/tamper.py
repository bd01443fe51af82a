"""A copy of the log with one byte flipped, for showing that the verifier notices."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def flipped_copy(log: Path) -> Iterator[tuple[Path, str]]:
    """A copy of the published ``log`` whose newest entry bundle has one flipped bit in its middle, and where that is.

    Raises ``FileNotFoundError`` for a log without records.
    """
    with tempfile.TemporaryDirectory(prefix="wicketgate-tampered-") as folder:
        copy = Path(folder) / "log"
        shutil.copytree(log, copy)
        bundles = [path for path in (copy / "tile" / "entries").rglob("*") if path.is_file()]
        if not bundles:
            raise FileNotFoundError(f"the log in {log} holds no records")
        bundle = max(bundles, key=lambda path: path.stat().st_mtime_ns)
        content = bytearray(bundle.read_bytes())
        middle = len(content) // 2
        content[middle] ^= 1
        bundle.write_bytes(content)
        yield copy, f"{bundle.relative_to(copy)}, byte {middle}"
