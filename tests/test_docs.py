"""The pages say what the code does: snippets run, commands exist, generated pages are fresh, promises name real tests."""

import ast
import functools
import http.server
import json
import os
import re
import subprocess
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from broker import config
from broker.cli import main
from broker.connectors.registry import read_settings
from broker.identity import issuer_profile
from tests import generate_docs
from tests.parts import ROOT
from tests.sim import started
from tests.sim.running_gate import running_gate, wicketgate

README = (ROOT / "README.md").read_text()
PAGES = sorted(
    {
        page
        for pattern in ("*.md", "docs/**/*.md", "deploy/**/*.md", "broker/**/*.md", "*/README.md")
        for page in ROOT.glob(pattern)
        if not page.relative_to(ROOT).parts[0].startswith(".")
    }
)


def snippet(mark: str, text: str = README) -> str:
    """The fenced block that follows the comment ``<!-- mark -->``."""
    found = re.search(rf"<!-- {mark} -->\n```\w+\n(.*?)```", text, re.DOTALL)
    assert found, mark
    return found.group(1)


# -- snippets ------------------------------------------------------------------------------------------------------------


def test_the_first_receipt_of_the_readme_comes_as_written(tmp_path: Path) -> None:
    with running_gate(tmp_path) as gate:
        checkpoint = tmp_path / "data/log/checkpoint"
        started.until(checkpoint.exists, gate.process, lambda: gate.said)
        for line in snippet("run").splitlines():
            command, _, remark = line.partition("#")
            expected = int(found.group(1)) if (found := re.search(r"exit (\d)", remark)) else 0
            done = subprocess.run(
                ["bash", "-c", command.replace("wicketgate ", f"{wicketgate()} ", 1)],
                cwd=tmp_path,
                env=dict(gate.environment),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == expected, f"{line}\n{done.stdout}{done.stderr}"
            if "verdict" in remark:
                assert "verdict: ok" in done.stdout
            if "receipt" in remark or "what there is" in remark:
                assert "recorded as no." in done.stdout + done.stderr


def test_the_keycloak_lines_of_the_readme_are_a_configuration_and_a_profile(tmp_path: Path) -> None:
    (tmp_path / "gate.toml").write_text(snippet("toml: identity"))
    loaded = config.load(tmp_path / "gate.toml", {})
    (issuer,) = loaded.identity.issuers
    issuer_profile(issuer.model_dump(exclude={"allow_networks", "ca_file"}))


class Prometheus(http.server.BaseHTTPRequestHandler):
    """The answer of a range query."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        series = [{"metric": {"job": "checkout"}, "values": [[1767225600, "1"]]}]
        body = json.dumps({"status": "success", "data": {"resultType": "matrix", "result": series}}).encode()
        ok = self.path == "/api/v1/query_range" and self.headers["Authorization"] == "Bearer made-up-credential"
        self.send_response(200 if ok else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the signature of http.server
        pass


@pytest.fixture
def prometheus() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Prometheus) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_the_prometheus_lines_of_the_readme_make_a_connector_that_answers(tmp_path: Path, prometheus: int) -> None:
    """The table into a configuration, and an agent asks."""
    table = snippet("toml: prometheus")
    (connector,) = tomllib.loads(table)["connectors"]
    read_settings(connector["adapter"], connector["name"], connector["settings"])
    secret = tmp_path / "prometheus"
    secret.write_text("made-up-credential\n")
    table = table.replace("https://prometheus.example", f"http://127.0.0.1:{prometheus}")
    table = table.replace('"/run/secrets/prometheus"', f'"{secret}"\nallow_networks = ["127.0.0.1/32"]')
    with running_gate(tmp_path, table) as gate:
        arguments = ('query=up{job="checkout"}', "start_s=1767225600", "end_s=1767225900", "step_s=15")
        given = [part for one in arguments for part in ("--arg", one)]
        target = ["--type", "prometheus", "--id", "main", "--env", "prod"]
        done = gate.command("act", "prometheus.query.range", *target, *given, "--as", "agent", "--json")
        assert done.returncode == 0, done.stderr
        assert "checkout" in json.dumps(json.loads(done.stdout)["result"])


# -- commands -------------------------------------------------------------------------------------------------------------


def commands() -> set[tuple[str, ...]]:
    """Every command and group that ``wicketgate --help`` leads to."""

    def walk(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        yield path
        if isinstance(command, click.Group):
            for name, inner in command.commands.items():
                yield from walk(inner, (*path, name))

    return set(walk(main, ()))


def leaf(words: list[str]) -> click.Command:
    """The command that ``words`` reach; raises ``KeyError`` where there is none."""
    at: click.Command = main
    for word in words:
        if not isinstance(at, click.Group):
            break
        at = at.commands[word]
    return at


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_and_option_that_a_page_names_exists(page: Path) -> None:
    """Options of ``wicketgate demo`` are its program's own and are compared below."""
    text = page.read_text()
    calls = re.findall(r"(?:^|`)(?:\$ )?wicketgate ((?:[a-z-]+ ?)[^`\n|#]*)", text, re.MULTILINE)
    for call in calls:
        words = [word for word in re.split(r"\s+", call.strip()) if word]
        if not words or not re.fullmatch(r"[a-z-]+", words[0]):
            continue
        path: list[str] = []
        for word in words:
            if (*path, word) not in commands():
                break
            path.append(word)
        assert path, f"{page.name}: wicketgate {call}"
        reached = leaf(path)
        if path == ["demo"]:
            continue
        known = {one for parameter in reached.params for one in parameter.opts} | {"--help", "-h"}
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", call):
            assert option in known, f"{page.name}: wicketgate {' '.join(path)} has no {option}"


@functools.cache
def helped(*words: str) -> str:
    done = subprocess.run(
        [wicketgate(), *words, "--help"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


FIXED = {
    ("demo",): ["--yes", "--no-browser", "--fault", "--seed", "--no-model", "--json", "--keep"],
    ("serve",): ["--config", "--dev", "--data", "--port"],
    ("doctor",): ["--config", "--json"],
    ("config", "check"): ["--config", "--json"],
    ("config", "print"): ["--config", "--json"],
    ("migrate",): ["--config", "--json"],
    ("login",): [],
    ("token",): ["--as", "--url"],
    ("act",): ["--arg", "--wait", "--as", "--url", "--json"],
    ("approvals", "list"): ["--json"],
    ("approvals", "show"): ["--json"],
    ("approvals", "approve"): ["--json"],
    ("approvals", "deny"): ["--json"],
    ("policy", "check"): ["--json"],
    ("policy", "test"): ["--json"],
    ("policy", "build"): ["--key"],
    ("policy", "activate"): [],
    ("policy", "rollback"): ["--offline"],
    ("policy", "simulate"): ["--json"],
    ("redact",): ["--findings"],
    ("audit", "verify"): ["--vkey", "--known-checkpoint", "--json"],
    ("audit", "prove"): [],
    ("audit", "export"): ["--format"],
    ("audit", "tail"): [],
    ("agents", "list"): ["--json"],
    ("agents", "kill"): [],
    ("agents", "resume"): [],
}
"""What users' scripts count on: it is only ever added to."""


@pytest.mark.parametrize("words", FIXED, ids=" ".join)
def test_the_commands_that_scripts_count_on_are_there(words: tuple[str, ...]) -> None:
    said = helped(*words)
    assert [option for option in FIXED[words] if option not in said] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_target_of_make_that_a_page_names_exists() -> None:
    known = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        named = set(re.findall(r"(?:^|`)make ([a-z]+)", page.read_text(), re.MULTILINE))
        assert named <= known, f"{page.name}: {named - known}"


# -- pages that are written from the code -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", generate_docs.PAGES, ids=lambda path: path.name)
def test_the_generated_pages_are_fresh(path: Path) -> None:
    assert path.read_text() == generate_docs.PAGES[path](), "run `make docs`"


def test_every_error_has_a_remedy_and_every_reason_of_policy_too() -> None:
    assert [code for code, _, _, remedy in generate_docs.error_rows() if not remedy.strip()] == []
    assert [code for code, one in generate_docs.policy_reasons().items() if not one["remedy"] or not one["title"]] == []


def test_dependencies_are_described_each_and_no_other() -> None:
    wanted = {
        re.split(r"[^A-Za-z0-9-]", one)[0]
        for one in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    }
    described = re.findall(r"^\| ([a-z][a-z0-9-]+) \|", (ROOT / "docs/dependencies.md").read_text(), re.MULTILINE)
    assert sorted(described) == sorted({*wanted, "package"})


# -- promises ---------------------------------------------------------------------------------------------------------------


def names_in(file: str) -> set[str]:
    """Names of the test functions in ``file``, those of classes as ``Class::name``."""
    names = set()
    for node in ast.parse((ROOT / file).read_text()).body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.add(name)
            case ast.ClassDef(name=outer, body=body):
                names |= {f"{outer}::{one.name}" for one in body if isinstance(one, ast.FunctionDef)}
            case _:
                pass
    return {name for name in names if re.search(r"(^|::)test_", name)}


def exists(node: str) -> bool:
    file, _, name = node.partition("::")
    return (ROOT / file).is_file() and name in names_in(file)


def test_every_promise_names_tests_that_exist() -> None:
    text = (ROOT / "SECURITY.md").read_text()
    rows = re.findall(r"^\| (.+?) \| (.*?) \|$", text.partition("## Promises")[2].partition("\n## ")[0], re.MULTILINE)[
        2:
    ]
    assert len(rows) >= 25
    for promise, named in rows:
        nodes = re.findall(r"`(tests/[^`]+)`", named)
        assert nodes, promise
        assert [node for node in nodes if not exists(node)] == [], promise


def test_no_row_of_the_promises_is_said_twice() -> None:
    rows = re.findall(r"^\| ([^|]+) \| `tests/", (ROOT / "SECURITY.md").read_text(), re.MULTILINE)
    assert len(rows) == len(set(rows))


def test_the_licence_is_whole() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert text.strip().startswith("Apache License")
    assert "END OF TERMS AND CONDITIONS" in text
    for path in ("pyproject.toml", "sdk/pyproject.toml"):
        assert tomllib.loads((ROOT / path).read_text())["project"]["license"] == "Apache-2.0"
