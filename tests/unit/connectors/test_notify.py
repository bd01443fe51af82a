"""Signed messages to people's systems."""

import base64
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from broker.clock import SeededClock
from broker.connectors.notify import Hook, NotifyConnector, NotifySettings, signed
from broker.egress import Egress
from broker.errors import BadRequest, NotFound, UpstreamFailed
from broker.model import Resource
from tests.parts import ROOT
from tests.sim.upstream import UpstreamSim, whole

Run = Callable[[Coroutine[Any, Any, Any]], Any]
MANIFEST = (ROOT / "policies/manifests/notify.yaml").read_text()
PAGER = Resource(type="webhook", id="pager", env="prod", region="eu-west-1")
SECRET = base64.b64encode(b"a key of thirty-two bytes, no less").decode()


def connector(sim: UpstreamSim, tmp_path: Path, secret: str = f"whsec_{SECRET}") -> NotifyConnector:
    (tmp_path / "secret").write_text(secret + "\n")
    hook = Hook(
        url=f"{sim.url}/hooks/1?team=ops",
        secret_file=str(tmp_path / "secret"),
        region="eu-west-1",
        allow_networks=("127.0.0.1/32",),
    )
    return NotifyConnector(NotifySettings(name="notify", hooks={"pager": hook}), Egress(), SeededClock())


def test_the_signature_is_that_of_the_specifications_example() -> None:
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signed(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_message_is_sent_once_and_its_receiver_can_check_it(run: Run, asked: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with UpstreamSim.fixed(whole(204)) as sim:
            adapter = connector(sim, tmp_path)
            grant, action = asked(MANIFEST).grant(
                "notify.incident.send", PAGER, {"incident": "inc_1", "kind": "escalated", "title": "checkout fails"}
            )
            await adapter.execute(grant, action)
            await adapter.aclose()
            [seen] = sim.seen
            assert (seen.method, seen.target) == ("POST", "/hooks/1?team=ops")
            assert seen.json["type"] == "incident.escalated"
            assert (seen.json["data"]["incident"], seen.json["data"]["title"]) == ("inc_1", "checkout fails")
            at = int(seen.headers["webhook-timestamp"])
            again = signed(base64.b64decode(SECRET), grant.id, at, seen.body)
            assert {name: seen.headers[name] for name in again} == again

    run(main())


@pytest.mark.parametrize(("status", "error"), [(500, UpstreamFailed), (302, UpstreamFailed), (404, UpstreamFailed)])
def test_an_answer_that_is_no_success_is_a_failure(
    run: Run, asked: Any, tmp_path: Path, status: int, error: type[Exception]
) -> None:
    async def main() -> None:
        async with UpstreamSim.fixed(whole(status)) as sim:
            adapter = connector(sim, tmp_path)
            with pytest.raises(error):
                await adapter.execute(
                    *asked(MANIFEST).grant("notify.incident.send", PAGER, {"incident": "i", "kind": "waiting"})
                )
            await adapter.aclose()

    run(main())


def test_an_unknown_receiver_gets_nothing(run: Run, asked: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with UpstreamSim.fixed(whole(200)) as sim:
            adapter = connector(sim, tmp_path)
            other = Resource(type="webhook", id="elsewhere", env="prod", region="eu-west-1")
            with pytest.raises(NotFound, match="receiver"):
                await adapter.execute(
                    *asked(MANIFEST).grant("notify.incident.send", other, {"incident": "i", "kind": "waiting"})
                )
            assert sim.connections == 0
            await adapter.aclose()

    run(main())


@pytest.mark.parametrize("secret", ["", SECRET, "whsec_", "whsec_!!", "whsec_c2hvcnQ="])
def test_a_secret_that_is_none_stops_the_start(run: Run, tmp_path: Path, secret: str) -> None:
    async def main() -> None:
        async with UpstreamSim.fixed(whole(200)) as sim:
            with pytest.raises(BadRequest) as raised:
                connector(sim, tmp_path, secret)
            assert raised.value.error_code == "config.secret"
            assert secret not in str(raised.value) or not secret

    run(main())
