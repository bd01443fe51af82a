"""The peers, each in an environment of its own with the versions and hashes of its lock, as its documentation starts it.

One worker each, authentication on, the database that it brings (ContextForge: SQLite; LiteLLM: none), logs down to
errors. Neither decides by policy, redacts or writes a durable record in this form; the gate does all three.
"""

import contextlib
import hashlib
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from demo.wire import free_port
from tests.parts import PARTS
from tests.sim import started

ENVIRONMENTS = PARTS.parent / "peers"
START_SECONDS = 240.0
PYTHON = ">=3.12"
"""What the newest ContextForge needs."""
TOOL = "ticket"


@dataclass(frozen=True, slots=True)
class Peer:
    """A running gateway: where it listens, what it takes as authorization, and which versions run."""

    port: int
    pid: int
    token: str
    versions: Mapping[str, str]


def environment(name: str) -> Path:
    """The folder of the programs of ``name``; installed when it is not there, or when the lock has changed since."""
    lock, folder = Path(__file__).with_name(f"{name}.lock"), ENVIRONMENTS / name
    digest, mark = hashlib.sha256(lock.read_bytes()).hexdigest(), folder / "installed"
    if not mark.exists() or mark.read_text() != digest:
        uv = str(Path(sys.executable).parent / "uv")
        subprocess.run([uv, "venv", "-q", "--clear", "--python", PYTHON, str(folder)], check=True)
        python = str(folder / "bin" / "python")
        subprocess.run(
            [uv, "pip", "install", "-q", "--python", python, "--require-hashes", "-r", str(lock)], check=True
        )
        mark.write_text(digest)
    return folder / "bin"


@contextlib.contextmanager
def contextforge(folder: Path, tool_port: int) -> Iterator[Peer]:
    """ContextForge with one REST tool registered, whose target is ``tool_port``."""
    programs, port = environment("contextforge"), free_port()
    place = _place(folder, "contextforge")
    settings = {
        "JWT_SECRET_KEY": secrets.token_urlsafe(48),
        "AUTH_ENCRYPTION_SECRET": secrets.token_urlsafe(48),
        "PLATFORM_ADMIN_EMAIL": "admin@example.com",
        "PLATFORM_ADMIN_PASSWORD": "Aa1!" + secrets.token_urlsafe(24),
        "DEFAULT_USER_PASSWORD": "Aa1!" + secrets.token_urlsafe(24),
        "BASIC_AUTH_USER": "bench",
        "BASIC_AUTH_PASSWORD": "Aa1!" + secrets.token_urlsafe(24),
        "SSRF_ALLOW_LOCALHOST": "true",
        "SSRF_ALLOW_PRIVATE_NETWORKS": "true",
        "DATABASE_URL": "sqlite:///./mcp.db",
        "LOG_LEVEL": "ERROR",
    }
    command = [str(programs / "mcpgateway"), "--host", "127.0.0.1", "--port", str(port), "--no-access-log"]
    with _running(command, place, settings, f"http://127.0.0.1:{port}/health") as pid:
        minted = [
            str(programs / "python"), "-m", "mcpgateway.utils.create_jwt_token", "--admin",
            "--username", "admin@example.com", "--exp", "600", "--secret", settings["JWT_SECRET_KEY"],
        ]  # fmt: skip
        told = subprocess.run(
            minted, cwd=place, env=_clean(place, settings), check=True, capture_output=True, text=True
        )
        token = told.stdout.strip().splitlines()[-1]
        schema = {"type": "object", "properties": {"ticket": {"type": "integer"}}}
        tool = {
            "name": TOOL, "url": f"http://127.0.0.1:{tool_port}/api/tickets/7", "description": "a ticket",
            "integration_type": "REST", "request_type": "POST", "input_schema": schema,
        }  # fmt: skip
        made = httpx.post(
            f"http://127.0.0.1:{port}/tools",
            json={"tool": tool},
            headers={"authorization": f"Bearer {token}"},
            trust_env=False,
            timeout=90,
        )
        assert made.is_success, made.text
        yield Peer(port, pid, token, versions(programs, "mcp-contextforge-gateway", "uvicorn", "httpx"))


@contextlib.contextmanager
def litellm(folder: Path, model: str, model_port: int) -> Iterator[Peer]:
    """LiteLLM's proxy with one model of the provider that listens on ``model_port``."""
    programs, port = environment("litellm"), free_port()
    place, key = _place(folder, "litellm"), "sk-" + secrets.token_urlsafe(32)
    upstream = {"model": f"anthropic/{model}", "api_base": f"http://127.0.0.1:{model_port}", "api_key": "none"}
    models = [{"model_name": model, "litellm_params": upstream}]
    # JSON is YAML.
    (place / "config.yaml").write_text(json.dumps({"model_list": models, "general_settings": {"master_key": key}}))
    command = [str(programs / "litellm"), "--config", "config.yaml", "--host", "127.0.0.1", "--port", str(port)]
    settings = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    with _running(command, place, settings, f"http://127.0.0.1:{port}/health/liveliness") as pid:
        yield Peer(port, pid, key, versions(programs, "litellm", "uvicorn", "httpx"))


def versions(programs: Path, *names: str) -> dict[str, str]:
    """Versions of Python and of ``names`` in an environment."""
    code = (
        "import json,platform,sys;from importlib.metadata import version;"
        "print(json.dumps({'python':platform.python_version()}|{n:version(n) for n in sys.argv[1:]}))"
    )
    told = subprocess.run([programs / "python", "-c", code, *names], check=True, capture_output=True, text=True)
    found: dict[str, str] = json.loads(told.stdout)
    return found


def _place(folder: Path, name: str) -> Path:
    place = folder / name
    place.mkdir()
    return place


def _clean(place: Path, settings: Mapping[str, str]) -> dict[str, str]:
    """An environment without anything of this machine's user."""
    return {"PATH": os.environ["PATH"], "HOME": str(place), **settings}


@contextlib.contextmanager
def _running(command: Sequence[str], place: Path, settings: Mapping[str, str], alive: str) -> Iterator[int]:
    """Run a program until the block ends; its pid once ``alive`` answers."""

    def said() -> str:
        return (place / "out").read_text(errors="replace")[-2000:]

    with (place / "out").open("wb") as out:
        process = subprocess.Popen(
            command, cwd=place, env=_clean(place, settings), stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        started.until(lambda: started.answers(alive), process, said, seconds=START_SECONDS)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)
