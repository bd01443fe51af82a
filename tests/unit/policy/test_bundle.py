import gzip
import io
import tarfile
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.errors import BadRequest, TooLarge
from broker.policy import archive, signature
from broker.policy.bundle import build_bundle, open_bundle, revision_number
from broker.policy.content import parse, read_folder
from broker.policy.keys import SigningKey


def code(caught: Any) -> str:
    return caught.value.error_code


def signed(packed: bytes, key: SigningKey) -> Any:
    """An archive that the right signer signed, whatever it holds."""
    return packed, signature.sign_archive(packed, key), {key.id: key.public}


def tar_of(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for entry, content in entries:
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return gzip.compress(plain.getvalue())


def test_equal_folders_keys_and_revisions_give_equal_bytes(build: Any) -> None:
    assert build("7") == build("7")
    assert build("7").digest != build("8").digest


def test_a_built_bundle_opens_to_what_was_built(build: Any, key: SigningKey) -> None:
    built = build("7-abc")
    assert open_bundle(built.archive, built.signature, {key.id: key.public}) == built
    assert built.revision == "7-abc"
    assert built.content.config["roles"]["auditor"] == {"actions": ["shop.orders.count"]}
    assert [manifest["connector"] for manifest in built.content.manifests] == ["shop"]


def test_a_change_of_any_byte_is_refused(build: Any, key: SigningKey) -> None:
    built = build("1")
    signers = {key.id: key.public}
    for position in range(len(built.archive)):
        broken = bytearray(built.archive)
        broken[position] ^= 0x01
        with pytest.raises(BadRequest) as caught:
            open_bundle(bytes(broken), built.signature, signers)
        assert code(caught) == "policy.untrusted"


@pytest.mark.parametrize("text", ["", "team", "team ", "team !!!", "other AAAA", "team AAAA"])
def test_a_missing_or_senseless_signature_is_refused(build: Any, key: SigningKey, text: str) -> None:
    built = build("1")
    with pytest.raises(BadRequest) as caught:
        open_bundle(built.archive, text, {key.id: key.public})
    assert code(caught) == "policy.untrusted"


def test_another_key_under_the_same_name_is_refused(build: Any, key: SigningKey) -> None:
    built = build("1")
    other = Ed25519PrivateKey.generate().public_key()
    with pytest.raises(BadRequest) as caught:
        open_bundle(built.archive, built.signature, {key.id: other})
    assert code(caught) == "policy.untrusted"


def test_a_signer_that_is_no_longer_configured_is_refused(build: Any) -> None:
    built = build("1")
    with pytest.raises(BadRequest) as caught:
        open_bundle(built.archive, built.signature, {})
    assert code(caught) == "policy.untrusted"


def test_a_bundle_without_the_listing_for_opa_is_refused(folder: Path, key: SigningKey) -> None:
    packed = archive.pack(read_folder(folder, "1"))
    with pytest.raises(BadRequest, match=r"signatures\.json is missing"):
        open_bundle(*signed(packed, key))


@pytest.mark.parametrize("change", ["content", "added", "removed"])
def test_a_listing_that_does_not_fit_the_files_is_refused(folder: Path, key: SigningKey, change: str) -> None:
    files = read_folder(folder, "1")
    listing = signature.sign_files(files, key)
    rego = "broker/main/main.rego"
    if change == "content":
        files[rego] += b"\n# one more line\n"
    elif change == "added":
        files["broker/main/more.rego"] = b"package broker.main\n"
    else:
        del files["config/reasons/data.json"]
    packed = archive.pack({**files, signature.SIGNATURES_FILE: listing})
    with pytest.raises(BadRequest, match="is not the file that was signed"):
        open_bundle(*signed(packed, key))


def test_a_listing_for_another_scope_is_refused(folder: Path, key: SigningKey, monkeypatch: pytest.MonkeyPatch) -> None:
    files = read_folder(folder, "1")
    monkeypatch.setattr(signature, "SCOPE", "write")
    listing = signature.sign_files(files, key)
    monkeypatch.undo()
    packed = archive.pack({**files, signature.SIGNATURES_FILE: listing})
    with pytest.raises(BadRequest, match="another key, algorithm or scope"):
        open_bundle(*signed(packed, key))


@pytest.mark.parametrize(
    "name", ["../evil", "/../evil", "a/../../evil", "//etc/passwd", "a//b", "a\\b", "a b", ".", "./a", "a/."]
)
def test_names_that_leave_the_bundle_are_refused_even_when_signed(key: SigningKey, name: str) -> None:
    with pytest.raises(BadRequest) as caught:
        open_bundle(*signed(tar_of((tarfile.TarInfo(name), b"x")), key))
    assert code(caught) == "policy.bad_archive"


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_anything_but_plain_files_is_refused_even_when_signed(key: SigningKey, kind: Any) -> None:
    entry = tarfile.TarInfo("broker/link")
    entry.type, entry.linkname = kind, "/etc/passwd"
    with pytest.raises(BadRequest) as caught:
        open_bundle(*signed(tar_of((entry, b"")), key))
    assert code(caught) == "policy.bad_archive"


def test_a_name_that_stands_twice_is_refused(key: SigningKey) -> None:
    packed = tar_of((tarfile.TarInfo("a"), b"1"), (tarfile.TarInfo("/a"), b"2"))
    with pytest.raises(BadRequest, match="stands in it twice"):
        open_bundle(*signed(packed, key))


def test_a_gzip_bomb_is_refused_before_it_is_unpacked(key: SigningKey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "UNPACKED_BYTES_MAX", 1_000_000)
    packed = tar_of((tarfile.TarInfo("a"), bytes(2_000_000)))
    assert len(packed) < 10_000
    with pytest.raises(TooLarge):
        open_bundle(*signed(packed, key))


def test_too_many_bytes_and_too_many_files_are_refused(key: SigningKey, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = tar_of(*((tarfile.TarInfo(f"f{i}"), b"") for i in range(4)))
    monkeypatch.setattr(archive, "FILES_MAX", 3)
    with pytest.raises(TooLarge):
        open_bundle(*signed(packed, key))
    monkeypatch.setattr(archive, "ARCHIVE_BYTES_MAX", 10)
    with pytest.raises(TooLarge):
        open_bundle(*signed(packed, key))


@pytest.mark.parametrize("broken", [b"", b"not gzip", gzip.compress(b"not tar" * 200, mtime=0)])
def test_what_is_no_archive_is_refused(key: SigningKey, broken: bytes) -> None:
    with pytest.raises(BadRequest) as caught:
        open_bundle(*signed(broken, key))
    assert code(caught) in {"policy.bad_archive", "policy.untrusted"}


def test_bytes_behind_the_archive_are_refused(build: Any, key: SigningKey) -> None:
    with pytest.raises(BadRequest, match="something follows it"):
        open_bundle(*signed(build("1").archive + b"x", key))
    with pytest.raises(BadRequest, match="cut short"):
        open_bundle(*signed(build("1").archive[:-9], key))


@pytest.mark.parametrize("revision", ["", "x1", "1.2", "-1", "1-", "1_000", "9" * 19])
def test_a_revision_without_an_order_is_refused(build: Any, revision: str) -> None:
    with pytest.raises(BadRequest, match="has no order"):
        build(revision)


def test_revisions_are_ordered_as_numbers() -> None:
    assert revision_number("10-abc") > revision_number("9-zzz")


def test_documents_and_tooling_stay_out_of_the_artefact_and_tests_are_no_rego_in_it(folder: Path) -> None:
    for name in (
        "README.md", ".regal/config.yaml", "broker/main/main_test.rego", "replay/a.jsonl", "broker/main/testdata/x.json"
    ):  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("package broker.main_test\n")
    assert set(read_folder(folder, "1")) == {
        ".manifest", "broker/main/main.rego", "config/reasons/data.json", "config/roles/data.json",
        "golden/bases.json", "golden/main.json", "manifests/shop.json", "schemas/input.v1.schema.json",
        "schemas/manifest.v1.schema.json", "schemas/config/reasons.schema.json", "schemas/config/roles.schema.json",
        "tests/broker/main/main_test.json",
    }  # fmt: skip
    found = parse(read_folder(folder, "1"))
    assert found.tests == {"broker/main/main_test.rego": "package broker.main_test\n"}
    assert set(found.modules) == {"broker/main/main.rego"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tests/broker/main/main_test.json", '{"rego": "package broker.main\\n"}'),
        ("tests/broker/main/main_test.json", '{"rego": 5}'),
        ("tests/broker/main/main_test.json", '{"rego": "package broker.a_test\\n", "more": 1}'),
        ("tests/broker/main/main.json", '{"rego": "package broker.a_test\\n"}'),
        ("broker/main/main_test.rego", "package broker.main_test\n"),
    ],
)
def test_a_test_that_could_be_a_rule_is_refused(folder: Path, name: str, text: str) -> None:
    with pytest.raises(BadRequest):
        parse({**read_folder(folder, "1"), name: text.encode()})


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("notes.txt", "hello", "has no place in a policy folder"),
        ("broker/data.json", "{}", "has no place in a bundle"),
        ("golden/data.json", "{}", "has no place in a bundle"),
        ("config/x.json", "{}", "has no place in a bundle"),
        ("config/x.rego", "package config.x\n", "has no place in a bundle"),
        ("broker/x.rego", "package system.authz\n", "must be in a package under `broker`"),
        ("broker/x.rego", "package config\n", "must be in a package under `broker`"),
        ("broker/x.rego", "# package broker\n", "must be in a package under `broker`"),
        ("config/x/data.json", '{"a": 0.5}', "holds the number 0.5"),
        ("config/x/data.json", '{"a": 9007199254740993}', "holds the number 9007199254740993"),
        ("config/x/data.json", "[1]", "is not a JSON object"),
        ("config/x/data.json", "{", "is not JSON"),
        ("config/x/data.yaml", "a: 1.5\n", "config/x/data.yaml:1: `1.5` can be read in two ways"),
        ("config/x/data.yaml", "b: 1\na: no\n", "config/x/data.yaml:2: `no` can be read in two ways"),
        ("config/x/data.yaml", "a: 2026-01-01\n", "can be read in two ways"),
        ("config/x/data.yaml", "a: 0777\n", "can be read in two ways"),
        ("config/x/data.yaml", "a: 1_000\n", "can be read in two ways"),
        ("config/x/data.yaml", "a: 1\na: 2\n", "config/x/data.yaml:2: key `a` is not text, or stands twice"),
        ("config/x/data.yaml", "1: a\n", "is not text, or stands twice"),
        ("config/x/data.yaml", "a: !!python/object:os.system x\n", "not plain YAML"),
        ("config/data.yaml", "roles: {oncall: {actions: []}}\n", "defines `actions` a second time"),
    ],
)
def test_a_folder_that_can_be_read_in_two_ways_is_refused(
    folder: Path, key: SigningKey, name: str, text: str, fault: str
) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    with pytest.raises(BadRequest) as caught:
        build_bundle(folder, key, "1")
    assert fault in caught.value.detail


def test_a_symbolic_link_in_the_folder_is_refused(folder: Path, key: SigningKey) -> None:
    (folder / "config" / "link").symlink_to("/etc")
    with pytest.raises(BadRequest, match="symbolic link"):
        build_bundle(folder, key, "1")


def test_a_folder_without_rego_or_without_a_folder_is_refused(folder: Path, key: SigningKey, tmp_path: Path) -> None:
    (folder / "broker" / "main" / "main.rego").unlink()
    with pytest.raises(BadRequest, match="holds no Rego"):
        build_bundle(folder, key, "1")
    with pytest.raises(BadRequest, match="does not exist"):
        build_bundle(tmp_path / "absent", key, "1")


def test_the_manifest_always_states_our_roots(folder: Path) -> None:
    (folder / ".manifest").write_text('{"roots": [""], "rego_version": 0, "metadata": {"team": "sec"}}')
    files = read_folder(folder, "5")
    assert files[".manifest"] == (
        b'{"metadata":{"team":"sec"},"rego_version":1,"revision":"5","roots":["broker","config"]}'
    )
    files[".manifest"] = b'{"roots": [""], "rego_version": 1}'
    with pytest.raises(BadRequest, match="must state roots"):
        parse(files)


def test_json_is_hashed_as_opa_hashes_it() -> None:
    value = {"b": [1, True, None], "a": "\u2028<&>é\x00\x7f"}
    assert signature.canonical(value) == '{"a":"\\u2028<&>é\\u0000\x7f","b":[1,true,null]}'.encode()
    spaced = b'{ "b": [1, true, null],\n "a": "\\u2028<&>\\u00e9\\u0000\\u007f"}'
    assert signature.file_hash("config/x/data.json", spaced) == signature.file_hash(
        "config/x/data.json", signature.canonical(value)
    )
    assert signature.file_hash("schemas/x.json", spaced) != signature.file_hash(
        "schemas/x.json", signature.canonical(value)
    )
