"""Signed notes, verifier keys, checkpoints, proofs, tiles: the C2SP forms, strictly."""

import pytest

from audit import checkpoint, note, tiles
from audit.errors import Malformed

# The worked example of Go's golang.org/x/mod/sumdb/note.
VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
LINE = (
    "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
)
SIGNED = f"{TEXT}\n{LINE}\n"


def test_the_published_example_of_another_implementation_verifies() -> None:
    key = note.parse_vkey(VKEY)
    parsed = note.parse(SIGNED.encode())
    assert note.signed_by(parsed, key)
    assert str(key) == VKEY
    assert str(parsed) == SIGNED


def test_a_changed_text_is_refused() -> None:
    parsed = note.parse(SIGNED.replace("think", "thinq").encode())
    with pytest.raises(Malformed, match="does not verify"):
        note.signed_by(parsed, note.parse_vkey(VKEY))


def test_signatures_of_unknown_keys_are_ignored() -> None:
    other = LINE.replace("PeterNeumann", "somebody")
    parsed = note.parse(f"{TEXT}\n{other}\n{LINE}\n".encode())
    assert note.signed_by(parsed, note.parse_vkey(VKEY))
    assert not note.signed_by(note.parse(f"{TEXT}\n{other}\n".encode()), note.parse_vkey(VKEY))


@pytest.mark.parametrize(
    "broken",
    [
        "",
        TEXT,
        f"{TEXT}\n",
        f"{TEXT}\n{LINE}",
        f"{TEXT}{LINE}\n",
        f"{TEXT}\n{LINE}\n\n",
        f"{TEXT}\n- PeterNeumann AAAAAAAA\n",
        f"{TEXT}\n\u2014 PeterNeumann AAAA\n",
        f"{TEXT}\n\u2014 Peter+Neumann {LINE.split()[2]}\n",
        f"{TEXT}\n\u2014  {LINE.split()[2]}\n",
        f"{TEXT}\n{LINE[:-2]}B=\n",
        f"{TEXT}\n{LINE[:-2]}N=\n",  # other unused bits: the same signature in another spelling
        f"{TEXT}\n{LINE} \n",
        f"\x07{TEXT}\n{LINE}\n",
        TEXT + "\n" + f"{LINE}\n" * 101,
    ],
)
def test_a_note_of_another_form_is_refused(broken: str) -> None:
    with pytest.raises(Malformed):
        note.signed_by(note.parse(broken.encode()), note.parse_vkey(VKEY))


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "a+b",
        VKEY.replace("c74f20a3", "c74f20a4"),
        VKEY + "AAAA",
        VKEY.replace("+AR", "+BR"),
        VKEY[:-4],
        "x y+1+AA==",
    ],
)
def test_a_verifier_key_of_another_form_is_refused(broken: str) -> None:
    with pytest.raises(Malformed):
        note.parse_vkey(broken)


ROOT = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="
SIGNATURE = LINE.replace("PeterNeumann", "example.com/behind-the-sofa")


@pytest.mark.parametrize(
    "text",
    [
        f"origin\n20852163\n{ROOT}\nextension\n",
        f"origin\n020852163\n{ROOT}\n",
        f"origin\n+20852163\n{ROOT}\n",
        f"origin\n-1\n{ROOT}\n",
        f"origin\n٣\n{ROOT}\n",
        f"origin\n1\n{ROOT[:-4]}\n",
        f"origin\n1\n{ROOT} \n",
        f"origin\n99999999999999999999\n{ROOT}\n",
        f"\n1\n{ROOT}\n",
        "origin\n1\n",
    ],
)
def test_a_checkpoint_of_another_form_is_refused(text: str) -> None:
    checkpoint.parse_checkpoint(f"origin\n20852163\n{ROOT}\n\n{SIGNATURE}\n".encode())
    with pytest.raises(Malformed):
        checkpoint.parse_checkpoint(f"{text}\n{SIGNATURE}\n".encode())


def test_a_proof_reads_back_and_other_forms_are_refused() -> None:
    signed = f"origin\n3\n{ROOT}\n\n{SIGNATURE}\n"
    good = f"c2sp.org/tlog-proof@v1\nindex 1\n{ROOT}\n{ROOT}\n\n{signed}"
    assert str(checkpoint.parse_proof(good.encode())) == good
    assert checkpoint.parse_proof(good.replace("index", "extra AAAA\nindex").encode()).index == 1
    for broken in (
        good.replace("@v1", "@v2"),
        good.replace("index 1\n", ""),
        good.replace("index 1", "index 01"),
        good.replace(ROOT, ROOT[:-4], 1),
        good.replace("\n\n", "\n", 1),
        good.replace(f"{ROOT}\n", f"{ROOT}\n" * 64, 1),
        signed,
        "ä" + good,
    ):
        with pytest.raises(Malformed):
            checkpoint.parse_proof(broken.encode())


def test_tile_paths_are_those_of_the_specification() -> None:
    assert tiles.tile_path(0, 1_234_067) == "tile/0/x001/x234/067"
    assert tiles.tile_path(2, 0, 7) == "tile/2/000.p/7"
    assert tiles.bundle_path(999, 255) == "tile/entries/999.p/255"
    assert tiles.bundle_path(1000) == "tile/entries/x001/000"


def test_tiles_and_bundles_hold_exactly_what_they_must() -> None:
    bundle = tiles.join_bundle([b"", b"ab", b"c" * 65_535])
    assert tiles.split_bundle(bundle, 3) == [b"", b"ab", b"c" * 65_535]
    for broken, width in ((bundle + b"\0", 3), (bundle[:-1], 3), (bundle, 2), (bundle, 4), (b"\0", 1)):
        with pytest.raises(Malformed):
            tiles.split_bundle(broken, width)
    with pytest.raises(Malformed):
        tiles.split_tile(b"\0" * 31, 1)


@pytest.mark.parametrize(
    ("level", "start", "size", "expected"),
    [
        (0, 0, 0, []),
        (0, 0, 1, [(0, 1)]),
        (0, 0, 256, [(0, 256)]),
        (0, 5, 257, [(0, 256), (1, 1)]),
        (0, 256, 257, [(1, 1)]),
        (1, 0, 255, []),
        (1, 0, 257, [(0, 1)]),
        (1, 70_000, 70_001, [(1, 17)]),
    ],
)
def test_spans_name_the_tiles_that_grew(level: int, start: int, size: int, expected: list[tuple[int, int]]) -> None:
    assert list(tiles.spans(level, start, size)) == expected
