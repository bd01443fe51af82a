"""``wicketgate doctor`` on what operators meet: each part is made to fail, is named, and says what to do."""

import asyncio
import json
import resource
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from broker.cli import looks
from broker.clock import SystemClock
from tests.parts import ROOT, fresh_database, require
from tests.sim import started
from tests.sim.certificate import SERVER, Authority
from tests.sim.issuer import Issuer
from tests.sim.real_issuers import Spiffe
from tests.sim.world import world
from tests.unit.cli.test_host_commands import wicketgate


class Usage(NamedTuple):
    """As ``shutil.disk_usage`` answers."""

    total: int
    used: int
    free: int


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a gate that acted and stopped."""
    folder = tmp_path_factory.mktemp("lived")

    async def main() -> None:
        async with world(folder) as it:
            agent = await it.agent()
            session = await it.session(agent)
            for _ in range(3):
                assert (await it.act(agent, "local.process.status", session)).status_code == 200

    asyncio.run(main())
    return folder / "data"


def findings(data: Path, toml: str = "", folder: Path | None = None) -> dict[str, dict[str, str]]:
    """What the doctor says, by part."""
    file = (folder or data.parent) / "doctor.toml"
    file.write_text(toml)
    done = wicketgate("doctor", "--config", str(file), "--data", str(data), "--json")
    found = {one["part"]: one for one in map(json.loads, done.stdout.splitlines())}
    assert (done.exit_code == 1) == any(one["state"] == "FAIL" for one in found.values()), done.stdout
    return found


def said(found: Mapping[str, str]) -> tuple[str, str]:
    assert found["remedy"] or found["state"] in {"ok", "skip"}, found
    return found["state"], found["detail"]


def test_a_gate_that_lived_is_well(lived: Path) -> None:
    found = findings(lived)
    assert {part for part, one in found.items() if one["state"] == "FAIL"} == set()
    for part in ("keys", "store", "clock", "policy", "log"):
        assert found[part]["state"] == "ok", found[part]
    assert "in force for" in found["policy"]["detail"]


def test_a_database_older_than_the_published_log_is_found(lived: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(lived, data)
    assert said(findings(data)["log"])[0] == "ok"
    shutil.rmtree(data / "log")
    shutil.copytree(lived / "log", data / "log")

    async def other() -> None:
        async with world(tmp_path / "other") as it:
            await it.session(await it.agent())

    (tmp_path / "other").mkdir()
    asyncio.run(other())
    for name in ("audit.db", "audit.db-wal", "audit.db-shm"):
        (data / name).unlink(missing_ok=True)
        if (tmp_path / "other" / "data" / name).exists():
            shutil.copy(tmp_path / "other" / "data" / name, data / name)
    state, detail = said(findings(data)["log"])
    assert (state, "does not hold what was published" in detail) == ("FAIL", True)


def test_a_changed_published_log_is_found(lived: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(lived, data)
    entries = next(path for path in sorted((data / "log" / "tile" / "entries").rglob("*")) if path.is_file())
    entries.write_bytes(entries.read_bytes().replace(b"intent", b"intend", 1))
    assert said(findings(data)["log"])[0] == "FAIL"


def test_an_older_database_says_to_migrate(tmp_path: Path) -> None:
    import sqlite3

    data = tmp_path / "data"
    assert wicketgate("migrate", "--data", str(data)).exit_code == 0
    assert said(findings(data)["store"])[0] == "ok"
    with sqlite3.connect(data / "gate.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'm0001'")
    found = findings(data)["store"]
    assert (found["state"], "wicketgate migrate" in found["remedy"]) == ("FAIL", True)


def test_a_database_that_is_away_is_named(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"postgresql+psycopg://gate:hunter2@127.0.0.1:{closed.getsockname()[1]}/gate"
        found = findings(tmp_path / "data", f'[store]\nurl = "{url}"\n', tmp_path)
    assert found["store"]["state"] == found["clock"]["state"] == "FAIL"
    assert "hunter2" not in json.dumps(found)


def test_the_databases_clock_is_asked(tmp_path: Path) -> None:
    url = fresh_database().replace("postgresql://", "postgresql+psycopg://")
    assert wicketgate("migrate", "--data", str(tmp_path), WICKETGATE_STORE_URL=url).exit_code == 0
    found = findings(tmp_path / "data", f'[store]\nurl = "{url}"\n', tmp_path)
    assert found["clock"]["state"] == "ok"
    assert "apart" in found["clock"]["detail"]


@pytest.mark.parametrize(
    ("seconds", "error"), [(0.5, None), (-5, looks.Doubtful), (31, looks.Stop), (-3600, looks.Stop)]
)
def test_clocks_apart_are_told_by_how_much_it_matters(seconds: float, error: type[Exception] | None) -> None:
    if error is None:
        assert "0.5 s apart" in looks.apart(seconds, "the database")
        return
    with pytest.raises(error) as caught:
        looks.apart(seconds, "the database")
    told = caught.value.failure.remedy if isinstance(caught.value, looks.Stop) else caught.value.args[1]
    assert told == "set both by NTP"


@pytest.mark.parametrize(("free", "state"), [(10**12, "ok"), (10**9, "warn"), (10**8, "FAIL")])
def test_a_disk_that_fills_is_told_before_it_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, state: str
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**13, 0, free))
    assert said(findings(tmp_path / "data", folder=tmp_path)["disk"])[0] == state


def test_too_few_files_are_told(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, before[1]))
    try:
        found = findings(tmp_path / "data", folder=tmp_path)["files"]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert (found["state"], "LimitNOFILE" in found["remedy"]) == ("warn", True)


def test_a_credential_for_everybody_is_told(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("made-up")
    toml = f'[policy]\nbundle_token_file = "{secret}"\n'
    secret.chmod(0o640)
    assert said(findings(tmp_path / "data", toml, tmp_path)["secrets"])[0] == "ok"
    secret.chmod(0o644)
    found = findings(tmp_path / "data", toml, tmp_path)["secrets"]
    assert (found["state"], "chmod o=" in found["remedy"]) == ("FAIL", True)
    secret.unlink()
    assert said(findings(tmp_path / "data", toml, tmp_path)["secrets"])[0] == "FAIL"


@pytest.mark.parametrize(("days", "state"), [(90, "ok"), (10, "warn"), (-1, "FAIL")])
def test_a_certificate_is_told_before_it_ends(tmp_path: Path, days: float, state: str) -> None:
    issued = Authority("ops").issue("gate", use=SERVER, days=(-2, days)).save(tmp_path / "server.pem")
    toml = f'[gate]\ntls_certificate_file = "{issued}"\ntls_key_file = "{issued}"\n'
    issued.chmod(0o600)
    assert said(findings(tmp_path / "data", toml, tmp_path)["tls"])[0] == state


@contextmanager
def answering(
    answers: Mapping[str, tuple[int, bytes]], certificate: Path | None = None, *, token: str = "", date: str = ""
) -> Iterator[str]:
    """A real server on loopback, for whoever shows ``token``; its address. It says ``date``, or the time."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answers.get(self.path, (404, b""))
            if token and self.headers["Authorization"] != f"Bearer {token}":
                status, body = 401, b"{}"
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def date_time_string(self, timestamp: float | None = None) -> str:
            return date or super().date_time_string(timestamp)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"{'https' if certificate else 'http'}://localhost:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def issuer_toml(url: str, ca_file: Path, networks: str = '"127.0.0.0/8", "::1/128"') -> str:
    return (
        f'[[identity.issuers]]\nname = "corp"\nissuer = "https://sso.example"\njwks_uri = "{url}/jwks"\n'
        f'audiences = ["a"]\ntenant = "default"\nallow_networks = [{networks}]\nca_file = "{ca_file}"\n'
    )


def test_an_issuer_is_asked_for_its_keys_as_the_gate_does(tmp_path: Path) -> None:
    authority = Authority("ops")
    (tmp_path / "ca.pem").write_bytes(authority.own.pem)
    (tmp_path / "other.pem").write_bytes(Authority("other").own.pem)
    server = authority.issue("sso", use=SERVER).save(tmp_path / "sso.pem")
    data, answers = tmp_path / "data", {"/jwks": (200, Issuer(SystemClock()).jwks())}
    with answering(answers, server) as url:
        assert said(findings(data, issuer_toml(url, tmp_path / "ca.pem"), tmp_path)["issuers"]) == (
            "ok",
            "corp answers",
        )
        for toml, why in (
            (issuer_toml(url, tmp_path / "other.pem"), "its certificate does not hold"),
            (issuer_toml(url, tmp_path / "ca.pem", '"10.0.0.0/8"'), "allow_networks"),
        ):
            state, detail = said(findings(data, toml, tmp_path)["issuers"])
            assert (state, why in detail) == ("FAIL", True), detail
        for status, body in ((503, b""), (200, b"<html>"), (200, b'{"keys": []}'), (200, b'{"error": "moved"}')):
            answers["/jwks"] = (status, body)
            assert said(findings(data, issuer_toml(url, tmp_path / "ca.pem"), tmp_path)["issuers"])[0] == "FAIL", body
    state, detail = said(findings(data, issuer_toml(url, tmp_path / "ca.pem"), tmp_path)["issuers"])
    assert (state, "refused" in detail) == ("FAIL", True), detail


def test_an_issuer_whose_keys_are_in_a_file_is_looked_at_there(tmp_path: Path) -> None:
    keys = tmp_path / "bundle.json"
    toml = (
        '[[identity.issuers]]\nname = "mesh"\nprofile = "spiffe"\nissuer = "spiffe://ops.example"\n'
        f'jwks_file = "{keys}"\naudiences = ["a"]\ntenant = "default"\n'
        '[[identity.issuers.bound]]\nname = "triage"\nroles = ["agent"]\nclaims = {sub = ["spiffe://ops.example/a"]}\n'
    )
    bundle = Spiffe(SystemClock()).jwks()
    keys.write_bytes(bundle)
    found = findings(tmp_path / "data", toml, tmp_path)
    assert said(found["issuers"]) == ("ok", "mesh is there, in its file"), found
    for wrong in (bundle[:40], b'{"keys": []}'):
        keys.write_bytes(wrong)
        assert said(findings(tmp_path / "data", toml, tmp_path)["issuers"])[0] == "FAIL"
    keys.unlink()
    state, detail = said(findings(tmp_path / "data", toml, tmp_path)["issuers"])
    assert (state, "bundle.json" in detail) == ("FAIL", True), detail


def test_an_issuer_that_wants_the_gates_own_token_is_shown_it(tmp_path: Path) -> None:
    authority, token = Authority("cluster"), tmp_path / "token"
    (tmp_path / "ca.pem").write_bytes(authority.own.pem)
    token.write_text("of-the-pod\n")
    token.chmod(0o600)
    server = authority.issue("api", use=SERVER).save(tmp_path / "api.pem")
    with answering({"/jwks": (200, Issuer(SystemClock()).jwks())}, server, token="of-the-pod") as url:
        toml = issuer_toml(url, tmp_path / "ca.pem") + f'token_file = "{token}"\n'
        assert said(findings(tmp_path / "data", toml, tmp_path)["issuers"]) == ("ok", "corp answers")
        token.write_text("of-another")
        found = findings(tmp_path / "data", toml, tmp_path)["issuers"]
        assert (found["state"], "token_file" in found["remedy"]) == ("FAIL", True)
        assert "of-another" not in json.dumps(found)
        token.unlink()
        assert said(findings(tmp_path / "data", toml, tmp_path)["issuers"])[0] == "FAIL"


@pytest.mark.parametrize(
    ("date", "state"),
    [
        ("yesterday", "ok"),
        ("Sat, 99 Nov 2026 21:00:00 GMT", "ok"),
        ("Sat, 21 Nov 2026 21:00:00 +99999999999", "ok"),
        ("Sat, 21 Nov 2020 21:00:00 GMT", "FAIL"),
        ("Sat, 21 Nov 2020 21:00:00 -0000", "FAIL"),
    ],
)
def test_a_time_that_an_issuer_says_in_no_known_form_is_none(tmp_path: Path, date: str, state: str) -> None:
    authority = Authority("ops")
    (tmp_path / "ca.pem").write_bytes(authority.own.pem)
    server = authority.issue("sso", use=SERVER).save(tmp_path / "sso.pem")
    with answering({"/jwks": (200, Issuer(SystemClock()).jwks())}, server, date=date) as url:
        assert said(findings(tmp_path / "data", issuer_toml(url, tmp_path / "ca.pem"), tmp_path)["issuers"])[0] == state


def test_a_doubtful_clock_hides_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "SKEW_DOUBTFUL", -1.0)  # whatever the difference is, it is doubtful
    authority, answers = Authority("ops"), {"/jwks": (200, Issuer(SystemClock()).jwks())}
    (tmp_path / "ca.pem").write_bytes(authority.own.pem)
    server = authority.issue("sso", use=SERVER).save(tmp_path / "sso.pem")
    with answering(answers, server) as url:
        toml = issuer_toml(url, tmp_path / "ca.pem")
        other = toml.replace('"corp"', '"other"').replace("https://sso", "https://other").replace("/jwks", "/nothing")
        assert "clocks" in said(findings(tmp_path / "data", toml, tmp_path)["issuers"])[1]
        state, detail = said(findings(tmp_path / "data", toml + other, tmp_path)["issuers"])
        assert (state, "other answers 404" in detail) == ("FAIL", True), detail
        answers["/jwks"] = (200, b'{"keys": []}')
        state, detail = said(findings(tmp_path / "data", toml, tmp_path)["issuers"])
        assert (state, "no usable key" in detail) == ("FAIL", True), detail


def target_toml(url: str) -> str:
    return (
        '[[connectors]]\nname = "prometheus"\nadapter = "prometheus"\n[connectors.settings]\n'
        f'base_url = "{url}"\nallow_networks = ["127.0.0.0/8", "::1/128"]\nregion = "eu-west-1"\n'
        'enforce = { env = "{resource.env}" }\n'
    )


def test_a_target_that_cannot_be_reached_is_named(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with answering({}) as url:
        assert said(findings(data, target_toml(url), tmp_path)["targets"])[0] == "ok"
    state, detail = said(findings(data, target_toml(url), tmp_path)["targets"])
    assert (state, detail) == ("FAIL", "prometheus: connection refused")
    state, detail = said(findings(data, target_toml("http://no-such-host.invalid"), tmp_path)["targets"])
    assert (state, detail) == ("FAIL", "prometheus: its name is not known")


def test_a_proxy_that_changes_the_host_or_shows_what_is_inside_is_told(tmp_path: Path) -> None:
    data, answers = tmp_path / "data", {"/livez": (200, b"ok\n")}
    with answering(answers) as url:
        toml = f'[gate]\nurl = "{url}"\n'
        assert said(findings(data, toml, tmp_path)["front"])[0] == "ok"
        answers["/livez"] = (421, b"")
        found = findings(data, toml, tmp_path)["front"]
        assert (found["state"], "pass Host on" in found["remedy"]) == ("FAIL", True)
        answers["/livez"] = (200, b"<html>")
        assert said(findings(data, toml, tmp_path)["front"])[0] == "FAIL"
    assert said(findings(data, toml, tmp_path)["front"])[0] == "warn"


@contextmanager
def opa_server(*options: str) -> Iterator[str]:
    """A real OPA on a socket; the address."""
    with tempfile.TemporaryDirectory(prefix="wgopa", dir="/tmp") as folder:
        path = Path(folder) / "opa.sock"
        command = [require("opa"), "run", "--server", f"--addr=unix://{path}", "--skip-version-check", *options]
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as it:
            try:
                started.until(path.exists, it)
                yield str(path)
            finally:
                it.kill()


def test_an_opa_that_answers_everybody_or_lets_everybody_in_is_told(tmp_path: Path) -> None:
    def looked(path: str) -> dict[str, str]:
        return findings(tmp_path / "data", f'[policy]\nengine = "opa"\nopa_socket = "{path}"\n', tmp_path)["opa"]

    rules = ("--authorization=basic", "--bundle", str(ROOT / "deploy" / "opa" / "authz"), "--unix-socket-perm=660")
    with opa_server(*rules) as path:
        assert said(looked(path))[0] == "ok"
        Path(path).chmod(0o666)
        assert "--unix-socket-perm" in looked(path)["remedy"]
    with opa_server("--unix-socket-perm=660") as path:
        found = looked(path)
        assert (found["state"], "--authorization=basic" in found["remedy"]) == ("FAIL", True)
    found = looked(path)
    assert (found["state"], "start OPA" in found["remedy"]) == ("FAIL", True)


SECRETS: Mapping[str, Any] = {
    "password": "hunter2",
    "client_secret": "hunter2",
    "api_key": "hunter2",
    "token": "hunter2",
    "credential": "hunter2",
}


def test_no_setting_that_bears_a_secret_is_printed(tmp_path: Path) -> None:
    rows = "".join(f'{name} = "{value}"\n' for name, value in SECRETS.items())
    file = tmp_path / "gate.toml"
    file.write_text(
        '[store]\nurl = "postgresql+psycopg://gate:hunter2@db/gate?password=hunter2"\n'
        '[[connectors]]\nname = "x"\nadapter = "http"\n[connectors.settings]\n'
        'base_url = "https://user:hunter2@target.example"\nproxy_url = "http://user:hunter2@proxy.example:3128"\n'
        f"{rows}[connectors.settings.deep]\n{rows}"
    )
    for options in ((), ("--json",)):
        shown = wicketgate("config", "print", "--config", str(file), *options)
        assert shown.exit_code == 0, shown.stderr
        assert "hunter2" not in shown.stdout
    assert "target.example" in shown.stdout, "addresses stay"
