"""No byte of a published log can change unnoticed."""

import random
from collections.abc import Iterator
from pathlib import Path

from audit.errors import Malformed
from audit.note import parse_vkey
from audit.source import Source
from audit.verify import Known, verify
from tests.unit.audit.room import chain, forge

BITS = tuple(1 << bit for bit in range(8))


class Files(Source):
    """A published log in memory, of which one file can be another."""

    def __init__(self, folder: Path) -> None:
        self.files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def read(self, path: str) -> bytes | None:
        return self.files.get(path)

    def partials(self, path: str) -> list[int]:
        return sorted(int(name.rsplit("/", 1)[1]) for name in self.files if name.startswith(f"{path}.p/"))


def flips(content: bytes, masks: dict[int, tuple[int, ...]]) -> Iterator[tuple[int, int, bytes]]:
    for at, bits in masks.items():
        for bit in bits:
            yield at, bit, content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :]


def test_every_flipped_byte_of_checkpoint_tile_and_bundle_is_found(tmp_path: Path) -> None:
    folder = forge(tmp_path / "log", chain(5))
    source = Files(folder)
    vkey = parse_vkey((tmp_path / "log.vkey").read_text())
    assert verify(source, vkey).ok
    chance = random.Random(1)
    tried = 0
    for path, whole in list(source.files.items()):
        every_bit = path == "checkpoint"
        masks = {at: BITS if every_bit else (chance.choice(BITS), 0xFF) for at in range(len(whole))}
        for at, bit, changed in flips(whole, masks):
            source.files[path] = changed
            assert not verify(source, vkey).ok, f"{path}: byte {at}, bits {bit:02x}"
            tried += 1
        source.files[path] = whole
    assert tried > 5_000
    assert verify(source, vkey).ok


def test_every_truncation_and_extension_is_found(tmp_path: Path) -> None:
    source = Files(forge(tmp_path / "log", chain(3)))
    vkey = parse_vkey((tmp_path / "log.vkey").read_text())
    for path, whole in list(source.files.items()):
        for end in range(len(whole)):
            source.files[path] = whole[:end]
            assert not verify(source, vkey).ok, f"{path} cut to {end}"
        for more in (b"\0", b"\n", b"\0\0", b"\0\1a", b"{}", whole):
            source.files[path] = whole + more
            assert not verify(source, vkey).ok, f"{path} with {more[:4]!r} behind"
        source.files[path] = whole


def test_every_flipped_byte_of_a_known_checkpoint_is_found(tmp_path: Path) -> None:
    source = Files(forge(tmp_path / "log", chain(5)))
    kept = (forge(tmp_path / "kept", chain(3)) / "checkpoint").read_bytes()
    vkey = parse_vkey((tmp_path / "log.vkey").read_text())
    assert verify(source, vkey, [Known("kept", kept)]).ok
    for _at, _bit, changed in flips(kept, dict.fromkeys(range(len(kept)), (1, 0x80))):
        assert not verify(source, vkey, [Known("kept", changed)]).ok


def test_every_flipped_byte_of_a_verifier_key_is_found(tmp_path: Path) -> None:
    source = Files(forge(tmp_path / "log", chain(2)))
    text = (tmp_path / "log.vkey").read_bytes().rstrip(b"\n")
    for _at, _bit, changed in flips(text, dict.fromkeys(range(len(text)), (1, 2))):
        try:
            vkey = parse_vkey(changed.decode())
        except (Malformed, UnicodeDecodeError):
            continue
        assert not verify(source, vkey).ok


def test_every_flipped_byte_of_what_an_earlier_checkpoint_covered_is_found_too(tmp_path: Path) -> None:
    entries = chain(7)
    source = Files(forge(tmp_path / "now" / "log", entries))
    earlier = Files(forge(tmp_path / "then" / "log", entries[:3]))
    older = {path: content for path, content in earlier.files.items() if path not in source.files}
    assert len(older) == 2
    source.files |= older
    vkey = parse_vkey((tmp_path / "now" / "log.vkey").read_text())
    assert verify(source, vkey).ok
    for path, whole in older.items():
        for _, _, changed in flips(whole, dict.fromkeys(range(len(whole)), (0xFF,))):
            source.files[path] = changed
            assert not verify(source, vkey).ok, path
        source.files[path] = whole
