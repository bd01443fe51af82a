"""What a policy folder or an unpacked bundle means: Rego, data, goldens, schemas, manifests.

``read_folder`` turns a folder into the files of an artefact (YAML becomes canonical JSON, Rego's unit tests become
JSON under ``tests/``, which no engine loads, tooling stays out); ``parse`` reads such files, whether they come from a folder or from a verified bundle, and refuses a layout on
which OPA and regorus would differ: data outside ``config``, a package outside the roots, data under a rule.
"""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from broker.errors import BadRequest, BrokerError
from broker.model import Json
from broker.policy.plainyaml import read_yaml
from broker.policy.signature import SIGNATURES_FILE, canonical

MANIFEST_FILE = ".manifest"
ROOTS = ["broker", "config"]
ENTRYPOINT = "data.broker.main.decision"
_JSON_FOLDERS = ("golden", "schemas", "manifests", "capabilities", "tests")
_LEFT_OUT = {"replay", "testdata", "fixtures", "CODEOWNERS", "LICENSE"}
_PACKAGE = re.compile(r"^package\s+([A-Za-z0-9_.]+)", re.MULTILINE)
_TEST = "_test.rego"
_INTEGER_MAX = 2**53


@dataclass(frozen=True, slots=True)
class Content:
    """The parsed files of one bundle. ``modules`` and ``tests`` are path -> Rego; the other maps are path -> JSON."""

    modules: Mapping[str, str]
    data: Mapping[str, Json]
    goldens: Mapping[str, Json]
    schemas: Mapping[str, Json]
    manifests: tuple[Mapping[str, Json], ...]
    capabilities: Mapping[str, Json]
    manifest: Mapping[str, Json]
    tests: Mapping[str, str] = field(default_factory=dict)
    """Unit tests by the path of the policy folder; they decide nothing and no engine of the gate's decisions has them."""

    @property
    def config(self) -> Mapping[str, Json]:
        """``data.config``: everything in the bundle that is not a rule."""
        config: Mapping[str, Json] = self.data.get("config", {})
        return config

    @property
    def redaction_profiles(self) -> Mapping[str, Json]:
        """``data.config.redaction``, as the redactor reads it."""
        profiles: Mapping[str, Json] = self.config.get("redaction", {})
        return profiles

    @property
    def remedies(self) -> Mapping[str, str]:
        """Reason code -> what to do next, from ``data.config.reasons``."""
        return {code: str(entry.get("remedy", "")) for code, entry in self.config.get("reasons", {}).items()}

    @property
    def revision(self) -> str:
        """The revision that ``.manifest`` states."""
        return str(self.manifest.get("revision", ""))

    def schema(self, name: str) -> Mapping[str, Json]:
        """Schema ``name`` (``input.v1``); raises ``BadRequest`` when the bundle lacks it."""
        found = self.schemas.get(f"schemas/{name}.schema.json")
        if not isinstance(found, dict):
            raise refusal(f"schemas/{name}.schema.json is missing", "add the schema to the policy folder")
        return found


def refusal(what: str, remedy: str, code: str = "policy.bad_bundle") -> BadRequest:
    """The error for a bundle or folder whose content is wrong."""
    return BadRequest(f"the policy bundle is refused: {what}", code=code, remedy=remedy)


def read_folder(folder: Path, revision: str) -> dict[str, bytes]:
    """Return the artefact's files for ``folder``: name -> bytes, with ``.manifest`` for ``revision``.

    Raises ``BadRequest`` naming the first file that has no place, or that does not parse.
    """
    if not folder.is_dir():
        raise refusal("the policy folder does not exist", "name the folder that holds broker/ and config/")
    files: dict[str, bytes] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise refusal(f"`{name}` is a symbolic link", "put the file itself into the policy folder")
        if path.is_file() and not _stays_out(name):
            files.update(_artefact(name, path.read_bytes()))
    stated = _stated_manifest(folder / MANIFEST_FILE)
    files[MANIFEST_FILE] = canonical({**stated, "revision": revision, "roots": ROOTS, "rego_version": 1})
    return files


def parse(files: Mapping[str, bytes]) -> Content:
    """Read the files of an artefact; raises ``BadRequest`` naming the file at fault."""
    manifest = _json(MANIFEST_FILE, files.get(MANIFEST_FILE, b""))
    if manifest.get("roots") != ROOTS or manifest.get("rego_version") != 1:
        raise refusal(f"{MANIFEST_FILE} must state roots {ROOTS} and rego_version 1", "build it with `policy build`")
    modules: dict[str, str] = {}
    data: dict[str, Json] = {}
    folders: dict[str, dict[str, Json]] = {name: {} for name in _JSON_FOLDERS}
    for name in sorted(files):
        top = name.partition("/")[0]
        if name in {MANIFEST_FILE, SIGNATURES_FILE}:
            continue
        if name.endswith(_TEST):
            raise refusal(f"`{name}` would be loaded as a rule", "build the bundle with `wicketgate policy build`")
        if name.endswith(".rego") and top == "broker":
            modules[name] = _rego(name, files[name])
        elif top == "config" and name.endswith("/data.json"):
            _insert(data, name, _json(name, files[name]))
        elif top in folders and name.endswith(".json") and not name.endswith("/data.json"):
            folders[top][name] = _json(name, files[name])
        else:
            raise refusal(f"`{name}` has no place in a bundle", "see broker/policy/README.md for the layout")
    if not modules:
        raise refusal("it holds no Rego under broker/", f"define {ENTRYPOINT}")
    return Content(
        modules=modules,
        data=data,
        goldens=folders["golden"],
        schemas=folders["schemas"],
        manifests=tuple(folders["manifests"].values()),
        capabilities=folders["capabilities"],
        manifest=manifest,
        tests=dict(_test(name, value) for name, value in folders["tests"].items()),
    )


def _stays_out(name: str) -> bool:
    """True for documents and tooling, which the artefact does not carry."""
    parts = name.split("/")
    return (
        name == MANIFEST_FILE
        or any((part.startswith(".") and part != MANIFEST_FILE) or part in _LEFT_OUT for part in parts)
        or name.endswith(".md")
    )


@functools.lru_cache(maxsize=512)
def _artefact(name: str, content: bytes) -> Mapping[str, bytes]:
    """One folder file as it stands in the artefact. A folder is read again and again, and little of it changes."""
    stem, _, suffix = name.rpartition(".")
    if name.endswith(_TEST):
        return {f"tests/{stem}.json": canonical({"rego": _rego(name, content)})}
    if suffix == "rego":
        return {name: content}
    if suffix in {"yaml", "yml"}:
        value = read_yaml(content, name)
        return {f"{stem}.json": canonical({"cases": value} if isinstance(value, list) else value)}
    if suffix == "json":
        return {name: canonical(_json(name, content))}
    raise refusal(f"`{name}` has no place in a policy folder", "see broker/policy/README.md for the layout")


def _stated_manifest(path: Path) -> dict[str, Json]:
    """The folder's own ``.manifest``; only its metadata is kept."""
    stated = _json(MANIFEST_FILE, path.read_bytes()) if path.is_file() else {}
    return {"metadata": stated["metadata"]} if "metadata" in stated else {}


def _json(name: str, content: bytes) -> dict[str, Json]:
    """Read one JSON object without floats or integers beyond 2^53."""
    try:
        value = orjson.loads(content)
    except ValueError:
        raise refusal(f"`{name}` is not JSON", "mend the file") from None
    if not isinstance(value, dict):
        raise refusal(f"`{name}` is not a JSON object", "put the value under a key")
    refuse_inexact(name, value)
    return value


def refuse_inexact(name: str, value: Json) -> None:
    """Refuse numbers on which engines differ: floats, and integers beyond 2^53."""
    if isinstance(value, float) or (isinstance(value, int) and abs(value) > _INTEGER_MAX):
        raise refusal(f"`{name}` holds the number {value}", "write exact integers up to 2^53; text for the rest")
    if isinstance(value, dict):
        for child in value.values():
            refuse_inexact(name, child)
    elif isinstance(value, list):
        for child in value:
            refuse_inexact(name, child)


def _rego(name: str, content: bytes) -> str:
    """Read one module; its package stands under ``broker`` and outside ``config``."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise refusal(f"`{name}` is not UTF-8", "save it as UTF-8") from None
    package = _PACKAGE.search(text)
    if package is None or package.group(1).split(".")[0] != "broker":
        raise refusal(f"`{name}` must be in a package under `broker`", "start it with `package broker.…`")
    return text


def _test(name: str, value: Mapping[str, Json]) -> tuple[str, str]:
    """Path and text of one unit test; its package ends in ``_test``, so that it can stand beside rules and add none."""
    path, text = name.removeprefix("tests/").removesuffix(".json") + ".rego", value.get("rego")
    if not path.endswith(_TEST) or value.keys() != {"rego"} or not isinstance(text, str):
        raise refusal(f"`{name}` is no unit test", "build the bundle with `wicketgate policy build`")
    package = _PACKAGE.search(_rego(path, text.encode()))
    if package is None or not package.group(1).endswith("_test"):
        raise refusal(f"`{path}` must be in a package that ends in `_test`", "start it with `package broker.…_test`")
    return path, text


def _insert(data: dict[str, Json], name: str, value: Json) -> None:
    """Hang ``value`` at the data path that the folder of ``name`` says; refuse what two files both define."""
    *parts, _ = name.split("/")
    for part in reversed(parts):
        value = {part: value}
    _merge(data, value, name)


def _merge(into: dict[str, Json], more: Mapping[str, Json], name: str) -> None:
    for key, value in more.items():
        if key not in into:
            into[key] = value
        elif isinstance(into[key], dict) and isinstance(value, dict):
            _merge(into[key], value, name)
        else:
            raise refusal(f"`{name}` defines `{key}` a second time", "let each data path stand in one file")


def failure_text(error: BrokerError) -> str:
    """One line for findings: what is wrong and what to do."""
    return f"{error.detail}; {error.error_remedy}"
