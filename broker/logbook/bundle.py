"""Files of an export: lines of a table that no spreadsheet executes, and the bundle for an auditor. Pure, but for the folder.

The bundle is a tar whose bytes depend on its content alone: exact leaf bytes, proofs under one checkpoint, the manifest,
and a verifier that needs nothing but Python.
"""

import csv
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from broker.logbook.lines import Line
from broker.model import Json

ENTRIES, EVENTS, PROOFS, TAR = "entries.jsonl", "events.csv", "proofs.jsonl", "bundle.tar"
SIGNING, SIGNING_PROOFS = "signing.jsonl", "signing-proofs.jsonl"
"""Records that the reviews among the entries rest on: what was proposed, and the security keys that signed."""
VERIFIER = Path(__file__).with_name("verify.py.txt")
GUIDE = Path(__file__).with_name("README-auditor.md")
COLUMNS = (
    "seq",
    "time",
    "kind",
    "who",
    "name",
    "behalf",
    "behalf_name",
    "action",
    "resource",
    "target",
    "effect",
    "tier",
    "codes",
    "status",
    "session",
    "incident",
    "approval",
    "leaf",
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a spreadsheet may take for the beginning of a formula (OWASP, CSV injection; full-width forms too)."""


def csv_head() -> bytes:
    """The first line."""
    return _csv(COLUMNS)


def csv_line(line: Line, name_of: Callable[[str], str], leaf: str) -> bytes:
    """One record; numbers stay numbers, every text is kept from being a formula."""
    at = datetime.fromtimestamp(line.at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    texts = (line.kind, line.who, name_of(line.who), line.behalf, name_of(line.behalf), line.action)
    ends = (" ".join(line.codes), line.status, line.session, line.incident, line.approval, leaf)
    places = (line.resource, line.target, line.effect, str(line.tier) if line.tier >= 0 else "")
    return _csv([str(line.seq), at, *map(neutral, (*texts, *places, *ends))])


def neutral(text: str) -> str:
    """``text`` as a cell that is text: a quote before what begins like a formula, blanks before it included."""
    clean = text.replace("\x00", "\ufffd")
    return "'" + clean if clean.lstrip(" \u00a0\ufeff\u200b").startswith(_FORMULA) else clean


def _csv(cells: Sequence[str]) -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n").writerow(cells)
    return out.getvalue().encode("utf-8", "replace")


def numbers_of(lines: IO[bytes], most: int) -> list[int]:
    """Sequence numbers of the next records of a file of leaf bytes."""
    found: list[int] = []
    while len(found) < most and (line := lines.readline()):
        found.append(int(json.loads(line)["seq"]))
    return found


def proof_line(seq: int, path: Sequence[bytes]) -> bytes:
    """One audit path, lowest hash first."""
    return json.dumps({"seq": seq, "path": [one.hex() for one in path]}, separators=(",", ":")).encode() + b"\n"


def finish(folder: Path, note: str, vkey: str, query: Mapping[str, Json], entries: int) -> None:
    """Write what belongs beside the records, and the tar of all."""
    (folder / "checkpoint").write_text(note, encoding="utf-8")
    (folder / "log.vkey").write_text(vkey + "\n", encoding="utf-8")
    (folder / "verify.py").write_bytes(VERIFIER.read_bytes())
    (folder / "README.md").write_bytes(GUIDE.read_bytes())
    names = sorted(path.name for path in folder.iterdir())
    digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    manifest = {"format": "wicketgate.export/1", "query": dict(query), "entries": entries, "files": digests}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    with tarfile.open(folder / TAR, "w", format=tarfile.PAX_FORMAT) as tar:
        for name in ("README.md", "manifest.json", *(one for one in names if one != "README.md")):
            _member(tar, folder / name)


def _member(tar: tarfile.TarFile, path: Path) -> None:
    """One file, without owner or time."""
    member = tarfile.TarInfo(path.name)
    member.size, member.mode, member.mtime = path.stat().st_size, 0o644, 0
    with path.open("rb") as file:
        tar.addfile(member, file)
