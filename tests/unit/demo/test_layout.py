"""The configuration that the demo gives the gate is one that the gate accepts; and what a person sees."""

import io
import stat
from pathlib import Path

import pytest

from broker.config import load
from broker.connectors.registry import read_settings
from broker.topology import Topology
from demo import gateconfig
from demo.__main__ import main
from demo.gateconfig import FAR_MODEL, LOOPBACK, NEAR_MODEL, REGIONS
from demo.layout import Layout, Ports
from demo.plant import plant
from demo.shop import SERVICES
from demo.stage import Stage


@pytest.mark.parametrize("model", [True, False])
def test_the_gate_accepts_the_demo_s_configuration(model: bool, tmp_path: Path) -> None:
    layout = Layout(tmp_path / 'a "quoted" folder')
    settings = load(gateconfig.write(layout, Ports(), model=model, prometheus=model), environment={})
    always = ["local", "logs", "git", "notify"]
    assert [connector.name for connector in settings.connectors] == (
        [*always, "llm", "prometheus"] if model else always
    )
    for connector in settings.connectors:
        made = read_settings(connector.adapter, connector.name, connector.settings)
        assert connector.name in {"git", "logs", "notify"} or list(made.allow_networks) == LOOPBACK
    graph = Topology.of(settings).graph("default", "prod")
    assert graph.path("cardnet", "storefront") == ("cardnet", "payments", "checkout", "storefront")
    assert graph.dependents("inventory") == ("checkout",)
    for service in SERVICES:
        resource = settings.resource("default", "process", service, "prod")
        assert resource is not None
        assert resource.region == REGIONS[service]
    near, far = (settings.resource("default", "model", name, "prod") for name in (NEAR_MODEL, FAR_MODEL))
    assert near is not None
    assert far is not None
    assert near.region != far.region


def test_credentials_are_files_that_only_their_owner_reads(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "data")
    first = layout.secret("provider.key")
    assert layout.secret("provider.key") != first
    assert stat.S_IMODE((layout.demo / "provider.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(layout.data.stat().st_mode) == 0o700


def test_planted_json_holds_what_the_seed_plants(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.plant(plant(5))
    text = (layout.demo / "planted.json").read_text()
    assert all(value in text for values in plant(5).by_kind().values() for value in values)


EVENTS = [
    ({"event": "step", "title": "read"}, "agent: read"),
    (
        {"event": "asked", "action": "a.b.c", "resource": "process:x@prod", "arguments": {"q": "[red]"}},
        "asked     a.b.c process:x@prod q=[red]",
    ),
    (
        {"event": "decided", "verdict": "refuse", "tier": None, "code": "limit.exceeded", "remedy": "wait"},
        "refused: limit.exceeded wait",
    ),
    (
        {"event": "decided", "verdict": "wait", "tier": 2, "code": "approval.pending", "remedy": "ask"},
        "waits for a person (tier 2)",
    ),
    ({"event": "decided", "verdict": "permit", "tier": 0, "code": "", "remedy": ""}, "permitted (tier 0)"),
    ({"event": "redacted", "counts": {"EMAIL": 2, "CARD": 1}}, "redacted  1 CARD, 2 EMAIL"),
    ({"event": "recorded", "seq": 7, "leaf": "ab" * 32}, "recorded  no. 7 abababababababab"),
    ({"event": "approval", "id": "apr_1", "digest": "cd" * 32, "quorum": 1}, "approval  apr_1"),
    ({"event": "said", "text": "[bold]hello"}, "model     [bold]hello"),
    ({"event": "note", "text": "after"}, "after"),
    ({"event": "from-the-future", "x": 1}, "from-the-future"),
]


@pytest.mark.parametrize(("event", "expected"), EVENTS)
def test_each_event_is_shown_plainly_without_a_terminal(
    event: dict[str, object], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.StringIO()
    monkeypatch.setattr("sys.stdout", out)
    Stage(to_stderr=False).event(event)
    assert expected in out.getvalue()
    assert "\x1b" not in out.getvalue()


def test_without_git_the_demo_names_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert main(["--yes"]) == 1
    assert "apt-get install git" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--fault", "gremlins"], ["--seed", "x"], ["--unknown"]])
def test_a_wrong_command_line_is_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
