"""A repository over HTTP: pinned to judged addresses, with the credential where nobody can read it, never redirected."""

import asyncio
import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from broker.clock import SeededClock
from broker.connectors.git import GitConnector, GitRepositorySettings, GitSettings
from broker.egress import Egress
from broker.errors import Denied, UpstreamFailed
from broker.model import Resource, Result, ResultStatus
from demo.wire import free_port
from tests.parts import ROOT
from tests.sim.git_http import GitServer, git_server
from tests.sim.git_remote import START_S, Remote
from tests.unit.connectors.cases import SEAL

MANIFEST = (ROOT / "policies/manifests/git.yaml").read_text()
SHOP = Resource(type="repository", id="shop", env="prod", region="eu-west-1")
WINDOW = {"since_s": START_S, "until_s": START_S + 86_400}


@dataclass
class World:
    adapter: GitConnector
    remote: Remote
    server: GitServer
    asked: Any
    names: list[str]

    async def act(self, action: str, **arguments: Any) -> Result:
        grant, declared = self.asked.grant(f"git.{action}", SHOP, arguments)
        return await self.adapter.execute(grant, declared)


@asynccontextmanager
async def world(
    tmp_path: Path, asked: Any, *, addresses: Sequence[str] = ("127.0.0.1",), port: int = 0, **more: Any
) -> AsyncIterator[World]:
    remote = Remote.at(tmp_path / "srv")
    remote.commit("first", {"checkout.toml": "pool = 5\n"})
    names: list[str] = []

    async def resolve(host: str, _: int) -> Sequence[str]:
        names.append(host)
        return addresses

    with git_server(tmp_path / "srv") as server:
        (tmp_path / "secret").write_text("gate:made-up-password")
        server.credential = "gate:made-up-password"
        one = GitRepositorySettings(
            **{
                "id": "shop",
                "url": f"http://git.example:{port or server.port}/shop.git",
                "writable": ("main",),
                "credential": "basic",
                "credential_file": str(tmp_path / "secret"),
                "allow_networks": ("127.0.0.1/32",),
                **more,
            }
        )
        settings = GitSettings(name="git", repositories=(one,), fresh_seconds=0.0, timeout_seconds=10.0)
        adapter = GitConnector(settings, Egress(resolve=resolve), SeededClock((START_S + 3600) * 1_000_000_000), SEAL)
        try:
            yield World(adapter, remote, server, asked(MANIFEST), names)
        finally:
            await adapter.aclose()


def test_a_revert_over_http_is_fetched_and_pushed_with_the_credential(tmp_path: Path, asked: Any) -> None:
    async def main() -> None:
        async with world(tmp_path, asked) as here:
            bad = here.remote.commit("bad", {"checkout.toml": "pool = 50\n"})
            listed = await here.act("history.list", **WINDOW)
            assert [one["subject"] for one in listed.value["commits"]] == ["bad", "first"]
            done = await here.act("change.revert", branch="main", commit=bad)
            assert done.status is ResultStatus.OK
            assert here.remote.show("checkout.toml") == "pool = 5"
            assert (await here.adapter.status_of("act_1")).status == "done"
            shown = "Basic " + base64.b64encode(b"gate:made-up-password").decode()
            assert {(credential, host) for _, _, credential, host in here.server.seen} == {
                (shown, f"git.example:{here.server.port}")
            }
            assert any(path.endswith("/git-receive-pack") for _, path, _, _ in here.server.seen)
            assert set(here.names) == {"git.example"}

    asyncio.run(main())


def test_the_credential_stands_on_no_command_line(tmp_path: Path, asked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with world(tmp_path, asked) as here:
            lines: list[str] = []
            start = asyncio.create_subprocess_exec

            async def noted(*command: str, **more: Any) -> asyncio.subprocess.Process:
                lines.append(" ".join(command))
                return await start(*command, **more)

            monkeypatch.setattr(asyncio, "create_subprocess_exec", noted)
            await here.act("history.list", **WINDOW)
            assert any(" fetch " in line for line in lines)
            secret = base64.b64encode(b"gate:made-up-password").decode()
            assert not [line for line in lines if secret in line or "made-up" in line]

    asyncio.run(main())


@pytest.mark.parametrize(
    "addresses", [("127.0.0.2",), ("127.0.0.1", "127.0.0.2"), ("169.254.169.254",), ("::1",), ("10.0.0.1",)]
)
def test_an_address_that_is_not_named_is_not_connected_to(
    tmp_path: Path, asked: Any, addresses: tuple[str, ...]
) -> None:
    async def main() -> None:
        async with world(tmp_path, asked, addresses=addresses) as here:
            with pytest.raises(Denied) as caught:
                await here.act("history.list", **WINDOW)
            assert caught.value.error_code == "egress.forbidden"
            assert here.server.seen == []
            assert (await here.adapter.status_of("act_1")).status == "unknown"

    asyncio.run(main())


def test_redirects_wrong_credentials_and_dead_servers_give_no_answer(tmp_path: Path, asked: Any) -> None:
    async def main() -> None:
        async with world(tmp_path, asked) as here:
            with git_server(tmp_path / "srv") as other:
                here.server.redirect = f"http://127.0.0.1:{other.port}/shop.git/info/refs?service=git-upload-pack"
                with pytest.raises(UpstreamFailed):
                    await here.act("history.list", **WINDOW)
                assert other.seen == []
            here.server.redirect, here.server.credential = "", "another:one"
            with pytest.raises(UpstreamFailed) as caught:
                await here.act("history.list", **WINDOW)
            assert "made-up" not in str(caught.value)
        async with world(tmp_path / "again", asked, port=free_port()) as here:
            with pytest.raises(UpstreamFailed) as caught:
                await here.act("change.revert", branch="main", commit=here.remote.head())
            assert (caught.value.error_code, caught.value.sent) == ("upstream.unreachable", False)

    (tmp_path / "again").mkdir()
    asyncio.run(main())
