"""A temporary gate over recorded cases: its own data folder, development keys, and a catalog made of the recordings.

Everything lies in one folder: ``policies/`` (ours, plus a manifest that declares the recorded actions as reads, and
grants for them), ``gate.toml`` (the connector ``replay`` and an inventory of what the cases name), ``data/``. Claims meet
the same judge as anywhere. Nothing but loopback is used, and the folder goes with the gate.
"""

import json
import os
import secrets
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

import yaml

from broker.cli import places, signin
from broker.cli.exits import Stop
from broker.connectors.replay_case import OWN, Case, affected, read_case, targets
from broker.evidence.quantities import instant_of

ENV: Final = "prod"
READY_SECONDS: Final = 60.0
PLENTY: Final = 1_000_000
_TITLES: Final = {
    "replay.observation.list": "List what was recorded",
    "replay.change.list": "List the changes that the case tells of",
    "replay.alert.read": "Read the alert of the case",
}
_OWN_SIGNALS: Final = {"replay.observation.list": "none", "replay.change.list": "change", "replay.alert.read": "alert"}
_TYPES: Final[Mapping[type, str]] = {str: "string", bool: "boolean", int: "integer"}
_READERS: Final = ("agent", "oncall")


def prepare(folder: Path, cases: Mapping[str, Path]) -> None:
    """Write policies and configuration for ``cases`` (name -> case folder); raises ``BadRequest`` for a bad case."""
    read = {name: read_case(path) for name, path in cases.items()}
    policies = folder / "policies"
    shutil.copytree(places.policies(), policies, ignore=shutil.ignore_patterns("*_test.rego"))
    # The recordings stand for the real systems: their manifests are left out, and the goldens that speak of them.
    for path in (policies / "manifests").iterdir():
        if path.stem not in {"gate", "llm"}:
            path.unlink()
    for path in (policies / "golden").iterdir():
        if path.is_dir() and path.name != "gate":
            shutil.rmtree(path)
    manifest = _manifest(read.values())
    _write(policies / "manifests" / "replay.yaml", manifest)
    _grant(policies / "config", list(manifest["actions"]))
    (folder / "gate.toml").write_text("\n".join(_tables(cases, read)), encoding="utf-8")


def _write(path: Path, value: Any) -> None:
    """JSON is YAML that can be read in one way only."""
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")


def _manifest(cases: Iterable[Case]) -> dict[str, Any]:
    """The recorded actions as reads, with the arguments that were recorded."""
    arguments: dict[str, dict[str, set[str]]] = {name: {} for name in OWN}
    signals = dict(_OWN_SIGNALS)
    for case in cases:
        for entry in case.entries:
            signals.setdefault(entry.action, entry.signal)
            known = arguments.setdefault(entry.action, {})
            for name, value in entry.args.items():
                known.setdefault(name, set()).add(_TYPES[type(value)])
    if len(arguments) > 250:
        raise Stop("more than 250 different actions were recorded", "split the case")
    return {
        "schema": "broker.manifest/v1",
        "connector": "replay",
        "adapter": "replay",
        "actions": {name: _action(name, signals[name], known) for name, known in sorted(arguments.items())},
    }


def _action(name: str, signal: str, arguments: Mapping[str, set[str]]) -> dict[str, Any]:
    return {
        "title": _TITLES.get(name, f"Recorded answers of {name}"),
        "effect": "read",
        "reversibility": "reversible",
        "idempotent": True,
        "resource_types": ["replay"],
        "arguments": {key: {"type": _one(kinds)} for key, kinds in sorted(arguments.items())},
        "result": {"attacker_writable": ["$"], "data_classes": ["internal", "pii"], "signal": signal},
    }


def _one(kinds: set[str]) -> str:
    """The type of an argument; the schema has one."""
    return next(iter(kinds)) if len(kinds) == 1 else "string"


def _grant(config: Path, actions: list[str]) -> None:
    """Let agents and people read the recordings, whole; every other value stays as the policy has it."""

    def change(area: str, edit: Any) -> None:
        path = config / area / "data.yaml"
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
        edit(value)
        _write(path, value)

    def grants(value: dict[str, Any]) -> None:
        for role in _READERS:
            value[role] |= {name: {"environments": [ENV], "resource_types": ["replay"]} for name in actions}

    def bounds(value: dict[str, Any]) -> None:
        value["arguments"] = {name: rule for name, rule in value["arguments"].items() if name not in actions}
        value["cap"]["actions"] |= {name: {"bytes": 8_388_608, "rows": 100_000} for name in actions}

    change("grants", grants)
    change("bounds", bounds)


def _tables(cases: Mapping[str, Path], read: Mapping[str, Case]) -> list[str]:
    """The gate's configuration."""
    folders = ", ".join(f"{json.dumps(name)} = {json.dumps(str(path.resolve()))}" for name, path in cases.items())
    tables = [
        f"[web]\nattempts_per_minute_max = {PLENTY}\nattempts_burst_max = {PLENTY}\n",
        "[incidents]\nmerge_seconds = 0\npast_seconds = 4000000000\nopen_max = 5000\nactions_max = 100000\n",
        f'[[connectors]]\nname = "replay"\nadapter = "replay"\n[connectors.settings]\ncases = {{{folders}}}\n',
    ]
    for name, case in read.items():
        sources = dict.fromkeys([name, *(f"{name}/{entry.resource}" for entry in case.entries)])
        tables += [_item("replay", source, []) for source in sources]
    return tables + [_item(kind, name, needs) for name, (kind, needs) in components(read.values()).items()]


def components(cases: Iterable[Case]) -> dict[str, tuple[str, list[str]]]:
    """Component -> (type, what it depends on), over all cases.

    A case without a topology of its own is taken to be about one service whose parts are whatever its calls named.
    """
    edges: dict[str, set[str]] = {}
    kinds: dict[str, str] = {}
    for case in cases:
        service = affected(case)
        parts = [] if case.described else [name for name in targets(case) if name != service]
        kinds |= dict.fromkeys(parts, "part") | dict.fromkeys([service, *case.nodes], "component")
        for one, to in [*case.edges, *((service, part) for part in parts)]:
            if one != to and not _leads(edges, to, one):
                edges.setdefault(one, set()).add(to)
    return {name: (kind, sorted(edges.get(name, ()))) for name, kind in sorted(kinds.items())}


def _leads(edges: Mapping[str, set[str]], start: str, end: str) -> bool:
    reached, open_ = {start}, [start]
    while open_:
        here = open_.pop()
        if here == end:
            return True
        fresh = edges.get(here, set()) - reached
        reached |= fresh
        open_ += fresh
    return False


def _item(kind: str, name: str, needs: list[str]) -> str:
    quoted = json.dumps(name)
    return (
        f'[[inventory]]\ntype = "{kind}"\nid = {quoted}\nenv = "{ENV}"\nregion = "local"\n'
        f"depends_on = {json.dumps(needs)}\n"
    )


def alert_of(name: str, case: Case) -> dict[str, Any]:
    """The body with which a case becomes an incident."""
    titles = [str(case.alert.get("title") or ""), case.question]
    given = case.alert.get("labels")
    labels = {str(k): str(v)[:1000] for k, v in given.items()} if isinstance(given, Mapping) else {}
    severity = labels.get("severity", "")
    return {
        "title": ": ".join(dict.fromkeys(text for text in titles if text))[:500] or case.id,
        "service": affected(case),
        "env": ENV,
        "severity": severity if severity in {"critical", "high", "warning", "info"} else "warning",
        "starts_at": _began(case),
        "labels": {"case": name},
        "source": "replay",
    }


def _began(case: Case) -> int:
    """When the alert began, where it says so and that lies in the window; else the window ends with it."""
    said = instant_of(case.alert.get("starts_at", case.alert.get("startsAt")))
    at = int(said.seconds) if said is not None else case.until
    return at if case.since <= at <= case.until else case.until


@dataclass(frozen=True, slots=True)
class Address:
    """Where the temporary gate is, and what opens it."""

    url: str
    data: Path

    def reporter(self) -> str:
        """A token of the program that reports alerts."""
        return self._token("alerts")

    def agent(self) -> str:
        """A token of the agent."""
        return self._token("agent")

    def agent_token_file(self) -> Path:
        """The agent's token in a file that only its owner reads: others can read arguments and environments."""
        path = self.data / "agent.token"
        places.private(path, self.agent())
        return path

    def _token(self, persona: str) -> str:
        client = signin.CLIENTS[persona]
        return signin.agent_token(self.url, self.data / "keys" / f"{client}.jwk", client)


class TemporaryGate:
    """A gate in a process of its own over ``folder`` (``prepare``); it ends with the block."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._words: list[str] = []
        self._ready = threading.Event()
        self._listener: threading.Thread | None = None

    def __enter__(self) -> Self:
        command = [sys.executable, "-c", "from broker.cli import main; main()", "serve", "--dev", "--port", "0"]
        command += ["--config", str(self._folder / "gate.toml"), "--data", str(self._folder / "data")]
        command += ["--policies", str(self._folder / "policies")]
        home = self._folder / "home"
        home.mkdir(exist_ok=True)
        own = {"WICKETGATE_DEV_CODE": secrets.token_hex(8), "XDG_CONFIG_HOME": str(home), "HOME": str(home)}
        environment = {k: v for k, v in os.environ.items() if not k.startswith("WICKETGATE_")} | own
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        assert self._process.stderr is not None
        self._listener = threading.Thread(target=self._listen, args=(self._process.stderr,), daemon=True)
        self._listener.start()
        if not self._ready.wait(READY_SECONDS) or not self._url():
            self.__exit__(None, None, None)
            said = " | ".join(self._words[-3:]) or "(nothing)"
            raise Stop(
                f"the temporary gate did not start: {said}", "see the line above; `wicketgate doctor` looks further"
            )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._listener is not None:
            self._listener.join()

    @property
    def address(self) -> Address:
        """Of the running gate."""
        return Address(self._url(), self._folder / "data")

    def _url(self) -> str:
        line = next((one for one in self._words if one.startswith("wicketgate: http")), "")
        return line.removeprefix("wicketgate: ").partition(" ")[0]

    def _listen(self, pipe: IO[bytes]) -> None:
        """Read what the gate says until it is ready, and go on so that it never blocks."""
        with pipe:
            for line in pipe:
                self._words.append(line.decode(errors="replace").rstrip())
                del self._words[100:-100]
                if self._url():
                    self._ready.set()
        self._ready.set()
