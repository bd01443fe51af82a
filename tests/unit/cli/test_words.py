"""What the command reads from its arguments and says on its way out."""

import json
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner
from wicketgate import from_problem
from wicketgate.answers import Problem
from wicketgate.errors import Unreachable

from audit.errors import LogUnavailable
from broker.cli import exits, main, signin
from broker.cli.caller import columns, read_arguments
from broker.config import HIDDEN, hidden
from broker.errors import BadRequest, Denied, Unauthenticated
from broker.identity.dev import PERSONAS


def test_arguments_are_json_where_they_are_json_and_text_elsewhere() -> None:
    read = read_arguments(["n=60", "yes=true", 'list=["a"]', "text=checkout is slow", 'digits="60"', "eq=a=b", "none="])
    assert read == {
        "n": 60,
        "yes": True,
        "list": ["a"],
        "text": "checkout is slow",
        "digits": "60",
        "eq": "a=b",
        "none": "",
    }


def test_decimals_keep_their_exact_text() -> None:
    assert read_arguments(["amount=0.10", "big=1e400", "nan=NaN"]) == {"amount": "0.10", "big": "1e400", "nan": "NaN"}


def test_as_names_everybody_whom_the_development_provider_knows() -> None:
    assert {*PERSONAS, *signin.CLIENTS} == set(signin.PERSONAS)


@pytest.mark.parametrize("pairs", [["novalue"], ["=x"], ["a=1", "a=2"]])
def test_an_argument_without_a_name_or_given_twice_is_a_usage_error(pairs: list[str]) -> None:
    with pytest.raises(click.UsageError):
        read_arguments(pairs)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BadRequest("no"), 1),
        (Denied("no"), 5),
        (Unauthenticated(), 3),
        (LogUnavailable("no"), 1),
        (OSError(2, "No such file", "x"), 1),
        (exits.Stop("no", code=exits.UNVERIFIED), 7),
        (from_problem(401, {"code": "identity.required"}), 3),
        (from_problem(403, {"code": "policy.denied"}), 5),
        (from_problem(429, {"code": "limit.exceeded"}), 5),
        (from_problem(404, {"code": "resource.not_found"}), 1),
        (from_problem(503, {"code": "policy.unavailable"}), 1),
        (Unreachable(Problem(status=0, code="gate.unreachable")), 4),
    ],
)
def test_every_failure_has_its_exit_code(error: Exception, code: int) -> None:
    failure = exits.read(error)
    assert failure is not None
    assert failure.code == code


def test_a_fault_of_ours_is_not_dressed_up() -> None:
    assert exits.read(KeyError("x")) is None


def test_a_refusal_names_all_its_reasons_for_people_and_for_programs() -> None:
    reasons = [{"code": "a.b", "remedy": "do a"}, {"code": "c.d", "remedy": "do c"}]
    failure = exits.read(from_problem(403, {"code": "a.b", "detail": "no", "reasons": reasons, "decision_id": "dec_1"}))
    assert failure is not None
    assert (failure.text, failure.remedy) == ("a.b: no (also: c.d)", "do a")
    assert failure.said["status"] == "refused"
    assert failure.said["decision_id"] == "dec_1"
    assert [one["code"] for one in failure.said["reasons"]] == ["a.b", "c.d"]


def test_secrets_are_hidden_and_paths_to_them_are_not() -> None:
    settings = {
        "store": {"url": "postgresql+psycopg://gate:p@ss/w:rd@db/gate?sslpassword=hunter2&a=b"},
        "connectors": [{"settings": {"api_key": "k-123456", "token_file": "/run/token", "tokens_max": 5}}],
    }
    shown = hidden(settings)
    text = json.dumps(shown)
    assert not any(secret in text for secret in ("p@ss", "w:rd", "hunter2", "k-123456"))
    assert shown["store"]["url"] == f"postgresql+psycopg://{HIDDEN}@db/gate?sslpassword={HIDDEN}&a=b"
    assert shown["connectors"][0]["settings"]["token_file"] == "/run/token"
    assert shown["connectors"][0]["settings"]["tokens_max"] == 5


def test_columns_are_aligned_and_an_empty_list_is_a_dash() -> None:
    assert columns([{"a": 1, "b": "x"}, {"a": 100}], ("a", "b")) == ["a    b", "1    x", "100"]
    assert columns([], ("a",)) == ["-"]


HEAVY = ("uvicorn", "fastapi", "sqlalchemy", "pydantic", "httpx", "aiohttp", "authlib", "hyperscan", "regorus")


def test_help_loads_no_server_no_database_and_no_client() -> None:
    program = (
        "import sys\nfrom broker.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr.strip() == "[]"
    assert "serve" in done.stdout


def test_every_command_has_help_and_takes_json_where_it_answers_with_values() -> None:
    runner, quiet = CliRunner(), {"serve", "token", "demo", "redact"}

    def walk(command: click.Command, *path: str) -> None:
        assert (command.help or "").strip(), path
        if isinstance(command, click.Group):
            for name, child in command.commands.items():
                walk(child, *path, name)
        elif not quiet.intersection(path):
            assert "--json" in runner.invoke(main, [*path, "--help"]).output, path

    walk(main)


def test_a_missing_argument_is_a_usage_error() -> None:
    runner = CliRunner()
    wrong = (["act"], ["serve"], ["policy", "rollback"], ["policy", "simulate"], ["agents", "kill", "--reason", "r"])
    for arguments in (*wrong, ["agents", "kill", "x", "--scope", "all", "--reason", "r"]):
        assert runner.invoke(main, arguments, env={"WICKETGATE_CONFIG": ""}).exit_code == 2, arguments
