"""Documents that say what there is: each is compared with the code that it is about."""

import ast
import dataclasses
import re
from collections.abc import Iterator

import yaml

from audit.fields import Class
from broker.config import ConsoleSettings, Settings
from broker.connectors.registry import ADAPTERS
from broker.identity.login import ATTEMPT_SECONDS
from broker.identity.profiles import IssuerProfile
from broker.web.routes import ROUTES
from tests.parts import ROOT


def section(page: str, heading: str) -> str:
    """What stands below ``heading`` of ``page``, up to the next heading."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, (page, heading)
    return found.group(1)


def first_column(text: str) -> set[str]:
    """The names in backticks of each row's first cell."""
    cells = re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def test_the_ways_in_are_those_of_the_routes() -> None:
    text = section("broker/identity/README.md", "Ways in")
    assert first_column(text) == {route.access for route in ROUTES}
    assert {route.path for route in ROUTES if route.access == "token"} == {"/bundles/broker.tar.gz"}
    posted = {route.path for route in ROUTES if route.access == "public" and route.method != "GET"}
    assert posted == {"/console/backchannel"}
    assert all(path in text for path in posted)


def test_the_limits_of_a_login_are_those_of_the_settings() -> None:
    text = section("broker/web/console/README.md", "How long, how many")
    seconds = [int(one) for one in re.findall(r"^\| [^|]+ \|[^|]*?(\d+) s\)? \|", text, re.MULTILINE)]
    console = ConsoleSettings()
    (longest,) = [one.default for one in dataclasses.fields(IssuerProfile) if one.name == "lifetime_seconds_max"]
    assert seconds == [console.idle_seconds, console.absolute_seconds, ATTEMPT_SECONDS, longest]
    assert console.idle_seconds <= 3_600
    assert console.absolute_seconds <= 86_400


def test_what_must_not_be_guessed_comes_from_the_systems_generator() -> None:
    """The seeded clock of the tests draws from another one, and nothing else of gate and log does."""
    drawing = [
        path.relative_to(ROOT).as_posix()
        for room in ("broker", "audit")
        for path in sorted((ROOT / room).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Import) and any(one.name in {"random", "uuid"} for one in node.names))
        or (isinstance(node, ast.ImportFrom) and node.module in {"random", "uuid"})
    ]
    assert drawing == ["broker/clock.py"]


def test_what_the_gate_talks_to_is_all_that_can_be_configured() -> None:
    text = section("deploy/README.md", "What it talks to")
    rows = dict(re.findall(r"^\| adapters? ([^|]+) \| [^|]+ \| ([^|]*) ?\|$", text, re.MULTILINE))
    named = {name: configured for cell, configured in rows.items() for name in re.findall(r"`([a-z]+)`", cell)}
    assert set(named) == set(ADAPTERS)
    for name, configured in named.items():
        fields = {field.name for field in dataclasses.fields(ADAPTERS[name])}
        assert set(re.findall(r"`([a-z_]+)`", configured)) <= fields, name
        reach = {
            field
            for field in fields
            if re.search(r"url|socket|endpoints|repositories|hooks|command|files|cases", field)
        }
        inward = {"proxy_url", "files_max", "credential_file", "ca_file", "unix_socket", "config_files"}
        assert reach - inward <= set(re.findall(r"`([a-z_]+)`", configured)) | {"config_repository"}, name
    for one in ("store.url", "policy.opa_socket", "telemetry.traces_url"):
        part, _, key = one.partition(".")
        assert f"`{one}`" in text
        kind = Settings.model_fields[part].annotation
        assert kind is not None
        assert key in kind.model_fields  # type: ignore[attr-defined]


def test_the_levels_of_data_are_those_of_log_and_policy() -> None:
    text = section("SECURITY.md", "Data, by how it is protected")
    residency = yaml.safe_load((ROOT / "policies/config/residency/data.yaml").read_text(encoding="utf-8"))
    assert first_column(text) == {one.value for one in Class} | set(residency["classes"]) | {"credential"}
    rows = re.findall(r"^\| (`.*) \|$", text, re.MULTILINE)
    assert rows
    assert all(len(row.split(" | ")) == 5 and all(row.split(" | ")) for row in rows), "what, where, who, how long"


def told(tree: ast.Module, *, own: bool) -> Iterator[str]:
    """Names of the events that a module hands to telemetry; ``own``: it is telemetry itself."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
            continue
        to = ast.unparse(node.func.value)
        if node.func.attr in {"event", "warning", "error"} and (own or to.endswith("telemetry")):
            yield from (
                part.value
                for part in ast.walk(node.args[0])
                if isinstance(part, ast.Constant) and isinstance(part.value, str)
            )


def test_the_events_of_telemetry_are_those_that_are_described() -> None:
    files = sorted((ROOT / "broker").rglob("*.py"))
    telemetry = ROOT / "broker" / "telemetry"
    given = {
        name
        for path in files
        for name in told(ast.parse(path.read_text(encoding="utf-8")), own=path.parent == telemetry)
    }
    described = first_column(section("broker/telemetry/README.md", "What is written where"))
    assert given - described == set()
    assert len(given) > 15
