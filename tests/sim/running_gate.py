"""A gate as a process of its own: ``wicketgate serve --dev`` on a free loopback port, with tokens for each persona."""

import asyncio
import contextlib
import os
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from demo.wire import free_port
from tests.sim import few_goldens, started
from tests.sim.supervisor import Supervisor

CODE = "TESTCODE42"
STOP_SECONDS = 90.0


@dataclass
class RunningGate:
    """A started gate. ``folder`` holds ``data``, ``gate.toml``, ``gate.out`` and ``home`` (the command's own files)."""

    folder: Path
    port: int
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes] = field(repr=False)
    tls: ssl.SSLContext | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://localhost:{self.port}"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def said(self) -> str:
        """What the gate wrote on standard error."""
        return (self.folder / "gate.out").read_text(encoding="utf-8", errors="replace")

    def command(
        self,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        text: str | None = None,
        seconds: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run ``wicketgate ARGUMENTS`` against this gate; a variable set to "" is left out."""
        chosen = {name: value for name, value in {**self.environment, **(environment or {})}.items() if value}
        stdin = {"input": text} if text is not None else {"stdin": subprocess.DEVNULL}
        return subprocess.run(
            [wicketgate(), *arguments],
            env=chosen,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            **stdin,
        )

    def token(self, persona: str) -> str:
        """A bearer token of ``oncall``, ``security``, ``deputy``, ``auditor`` or ``agent``; fresh for each caller."""
        done = self.command("token", "--as", persona)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def client(self, persona: str, **headers: str) -> httpx.Client:
        """An HTTP client with the persona's token; close it."""
        return httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {self.token(persona)}", **headers},
            trust_env=False,
            timeout=90,
        )

    def stop(self) -> int:
        """SIGTERM, and the exit code; killed where it does not end."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait(STOP_SECONDS)

    def kill(self) -> None:
        """SIGKILL: a crash."""
        self.process.kill()
        self.process.wait(STOP_SECONDS)


def wicketgate() -> str:
    """The command beside this Python."""
    return str(Path(sys.executable).parent / "wicketgate")


@contextlib.contextmanager
def running_gate(
    folder: Path,
    toml: str = "",
    *,
    port: int | None = None,
    environment: Mapping[str, str] | None = None,
    options: Sequence[str] = (),
    tls: ssl.SSLContext | None = None,
) -> Iterator[RunningGate]:
    """Start a gate with the configuration ``toml`` on ``folder/data``, wait until it is ready, end it afterwards.

    ``tls`` is how to reach one that has a certificate: it runs as in production, without personas. Start it again on
    the same ``folder`` to restart it. Raises ``AssertionError`` with its last words.
    """
    config, home = folder / "gate.toml", folder / "home"
    home.mkdir(parents=True, exist_ok=True)
    config.write_text(toml, encoding="utf-8")
    chosen = port or free_port()
    known = {
        **{
            name: os.environ[name]
            for name in ("PATH", "LANG", "TMPDIR", "COVERAGE_PROCESS_START")
            if name in os.environ
        },
        "HOME": str(home),
        "WICKETGATE_URL": f"http://localhost:{chosen}",
        "WICKETGATE_DEV_CODE": CODE,
        "WICKETGATE_POLICY_WALL_MILLISECONDS_MAX": "30000",
        **(environment or {}),
    }
    command = [wicketgate(), "serve", "--config", str(config), "--data", str(folder / "data")]
    command += [] if tls else ["--dev", "--policies", str(few_goldens.policies())]
    with (folder / "gate.out").open("ab") as out:
        process = subprocess.Popen(
            [*command, "--port", str(chosen), *options], stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=known
        )
    gate = RunningGate(folder, chosen, known, process, tls)
    try:
        ready = f"{gate.url}/readyz"
        started.until(lambda: started.answers(ready, tls or True), process, lambda: gate.said)
        yield gate
    finally:
        gate.stop()


@contextlib.contextmanager
def supervised(*names: str) -> Iterator[tuple[Supervisor, str]]:
    """A supervisor of real child processes on a thread of its own, and the TOML that lets a gate reach them."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    supervisor = Supervisor(names)
    try:
        asyncio.run_coroutine_threadsafe(supervisor.__aenter__(), loop).result(90)
        yield supervisor, process_toml(supervisor.server.url, *names)
    finally:
        asyncio.run_coroutine_threadsafe(supervisor.__aexit__(), loop).result(90)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()


def process_toml(supervisor_url: str, *names: str) -> str:
    """The connector ``local`` and its inventory."""
    processes = ", ".join(f'{{id = "{name}"}}' for name in names)
    inventory = "".join(
        f'[[inventory]]\ntype = "process"\nid = "{name}"\nenv = "prod"\nregion = "eu-west-1"\n' for name in names
    )
    return (
        '[[connectors]]\nname = "local"\nadapter = "local"\n[connectors.settings]\n'
        f'supervisor_url = "{supervisor_url}"\nallow_networks = ["127.0.0.0/8"]\n'
        f"processes = [{processes}]\n{inventory}"
    )
