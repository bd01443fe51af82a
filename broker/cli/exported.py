"""``wicketgate audit verify BUNDLE``: an exported bundle, by the verifier that bundles carry; ours, never the one in it."""

import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import click

from audit.errors import Malformed


class Verified(NamedTuple):
    """What the verifier said: a line a property, the verdict last."""

    ok: bool
    lines: Sequence[str]

    def as_json(self) -> dict[str, object]:
        """The object that ``audit verify --json`` gives of a log, as far as a bundle has it."""
        checks = []
        for line in self.lines[: -1 if self.ok else None]:
            name, _, rest = line.partition(": ")
            word, _, detail = rest.partition(" - ")
            checks.append({"property": name, "verdict": word.lower(), "detail": detail})
        return {"verdict": "ok" if self.ok else "failed", "checks": checks}

    def as_text(self) -> str:
        """The lines for a person."""
        return "\n".join([*self.lines, *([] if self.ok else ["verdict: failed"])])


def is_bundle(place: str) -> bool:
    """Whether this is an export's tar, or the folder that it was unpacked into.

    Raises ``Malformed`` for a folder that is a published log as well: whoever is audited does not choose the verifier.
    """
    path = Path(place)
    if path.suffix == ".tar":
        return path.is_file()
    bundle = (path / "manifest.json").exists()
    if bundle and (path / "tile").exists():
        raise Malformed(
            f"{place} is a published log (tile) and an export (manifest.json): nothing of it was verified; keep an export in a folder of its own"
        )
    return bundle


def verified(place: str, vkey: Path | None, known: Path | None) -> Verified:
    """Verify it, with the key and the checkpoint that the auditor has from elsewhere.

    Raises ``UsageError`` for an empty key: without one the verifier takes the bundle's own.
    """
    key = vkey.read_text("utf-8").strip() if vkey else None
    if key == "":
        raise click.UsageError(
            f"--vkey: {vkey} is empty; give the key that you have from elsewhere, or leave the option out"
        )
    options = ["--vkey", key] if key else []
    options += ["--known-checkpoint", str(known.absolute())] if known else []
    with tempfile.TemporaryDirectory(prefix="wicketgate-bundle-") as made:
        folder = Path(place)
        if folder.is_file():
            try:
                with tarfile.open(folder) as tar:
                    tar.extractall(made, filter="data")
            except tarfile.TarError as error:
                return Verified(False, [f"bundle: FAILED - it cannot be read: {error}"])
            folder = Path(made)
        return _run([str(folder.absolute()), *options])


def _run(arguments: Sequence[str]) -> Verified:
    from broker.logbook.bundle import VERIFIER

    command = [sys.executable, "-I", str(VERIFIER), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own file
    return Verified(done.returncode == 0, (done.stdout or done.stderr).splitlines())
