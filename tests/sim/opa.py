"""A real OPA server on a unix socket, fed by a real HTTP server that serves the gate's bundle shelf.

It runs with the configuration and authorization rules of ``deploy/opa``, so the tests prove those files too.
"""

import asyncio
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from broker.policy.delivery import BundleShelf
from broker.policy.keys import SigningKey
from tests.parts import ROOT, require

DEPLOY = ROOT / "deploy" / "opa"


class RunningOpa:
    """One OPA program; ``start`` and ``stop`` as often as a test likes. ``socket`` is short enough for a unix address."""

    def __init__(self, folder: Path, url: str, key: SigningKey, *, token: Path | None = None) -> None:
        """``token``: file with the token of the gate's bundle delivery."""
        self.socket = str(folder / "opa.sock")
        self._folder = folder
        self._environment = {
            "WICKETGATE_URL": url,
            "POLICY_KEY_ID": key.id,
            "POLICY_PUBLIC_KEY": key.opa_public_pem().replace("\n", "\\n"),
            "OPA_DATA": str(folder / "data"),
            "HOME": str(folder),
            "PATH": os.environ["PATH"],
        }
        self._token = ["--set", f"services.gate.credentials.bearer.token_path={token}"] if token else []
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def messages(self) -> str:
        """What OPA has written so far."""
        return (self._folder / "opa.log").read_text()

    async def start(self) -> None:
        """Start the program and wait until its socket answers."""
        command = [
            require("opa"), "run", "--server", "--addr", f"unix://{self.socket}", "--unix-socket-perm", "660",
            "--authorization=basic", "--bundle", str(DEPLOY / "authz"), "--config-file", str(DEPLOY / "opa.yaml"),
            "--optimize-store-for-read-speed", "--skip-version-check", "--log-level", "error", *self._token,
        ]  # fmt: skip
        with (self._folder / "opa.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - a start takes milliseconds
                command, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        for _ in range(6_000):
            if await self._listens():
                return
            assert self._process.poll() is None, self.messages
            await asyncio.sleep(0.01)
        raise AssertionError(self.messages)

    def stop(self) -> None:
        """Kill the program, as a crash would."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def suspend(self) -> None:
        """Freeze the program: it keeps its socket and answers nothing."""
        assert self._process
        os.kill(self._process.pid, 19)

    def resume(self) -> None:
        """Let a frozen program go on."""
        assert self._process
        os.kill(self._process.pid, 18)

    async def _listens(self) -> bool:
        try:
            _, writer = await asyncio.open_unix_connection(self.socket)
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True


@asynccontextmanager
async def running_opa(shelf: BundleShelf, key: SigningKey) -> AsyncIterator[RunningOpa]:
    """OPA started beside a server that serves ``shelf`` as the gate's web layer does."""

    async def bundle(request: web.Request) -> web.Response:
        answer = await shelf.answer(request.headers.get("If-None-Match", ""), request.headers.get("Prefer", ""))
        return web.Response(status=answer.status, headers=answer.headers, body=answer.body)

    app = web.Application()
    app.router.add_get("/bundles/broker.tar.gz", bundle)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    with tempfile.TemporaryDirectory(prefix="wgopa", dir="/tmp") as folder:
        opa = RunningOpa(Path(folder), f"http://127.0.0.1:{port}", key)
        try:
            await opa.start()
            yield opa
        finally:
            opa.stop()
            await runner.cleanup()
