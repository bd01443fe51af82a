"""The shop's configuration: one TOML file a service in a bare git repository, and what is deployed of it.

``config.git`` is the repository; whoever changes it, the supervisor deploys what its branch ``main`` holds. Commits of the
history are the same for equal seeds: fixed authors and dates, and no configuration of the host. A change made while the
shop runs bears the time at which it was made.
"""

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from demo.plant import Planted
from demo.shop import SERVICES

BRANCH = "main"
VERSIONS: Mapping[str, str] = {"storefront": "4.12.0", "checkout": "2.7.3", "payments": "3.1.1", "inventory": "1.9.6"}
JSON_LOGS = ("storefront", "payments")
SETTINGS: Mapping[str, str] = {
    "checkout": "\n[orders]\ncents_max = 25000\n",
    "payments": '\n[charging]\ncurrencies = ["EUR", "GBP", "SEK", "USD"]\n',
    "inventory": '\n[stock]\ntable = "stock"\n',
}
FIRST, SECOND, THIRD = "2026-01-12T09:00:00+00:00", "2026-02-03T14:30:00+00:00", "2026-03-19T11:05:00+00:00"


@dataclass(frozen=True, slots=True)
class Author:
    """Who commits."""

    name: str
    email: str


OPERATIONS = Author("Shop Operations", "ops@shop.internal")


@dataclass(frozen=True, slots=True)
class Change:
    """An edit of one service's file: a line by another."""

    service: str
    old: str
    new: str
    message: str
    author: Author


def make(bare: Path, planted: Planted) -> None:
    """Make the repository with its history, or bring an existing one back to it where something was left changed."""
    if not bare.exists():
        _git(bare.parent, "init", "--quiet", "--bare", f"--initial-branch={BRANCH}", str(bare))
        _history(bare, planted)
        return
    now = {service: _file(service, planted, pool_size=_pool(service)) for service in SERVICES}
    with _clone(bare) as work:
        if _write(work, now):
            _commit(work, OPERATIONS, "shop: back to the settings of the history", date=_now())
            _git(work, "push", "--quiet", "origin", BRANCH)


def apply(bare: Path, change: Change) -> str:
    """Commit ``change`` to the branch now; the commit's id."""
    with _clone(bare) as work:
        path = work / f"{change.service}.toml"
        text = path.read_text(encoding="utf-8")
        if change.old not in text:
            raise ValueError(f"{path.name} does not hold {change.old!r}")
        path.write_text(text.replace(change.old, change.new), encoding="utf-8")
        _commit(work, change.author, change.message, date=_now())
        _git(work, "push", "--quiet", "origin", BRANCH)
        return _git(work, "rev-parse", "HEAD").strip()


def head(bare: Path) -> str:
    """The commit that the branch holds."""
    return _git(bare, "rev-parse", "--verify", f"refs/heads/{BRANCH}").strip()


def deploy(bare: Path, commit: str, folder: Path) -> list[str]:
    """Write the files of ``commit`` to ``folder``; the services whose files differ from what was there."""
    changed = []
    for service in SERVICES:
        text = _git(bare, "show", f"{commit}:{service}.toml")
        path = folder / f"{service}.toml"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            changed.append(service)
    (folder / "COMMIT").write_text(commit + "\n", encoding="ascii")
    return changed


def _history(bare: Path, planted: Planted) -> None:
    """Three commits, long ago."""
    with _clone(bare) as work:
        _write(work, {service: _file(service, planted, pool_size=16) for service in SERVICES})
        _commit(work, OPERATIONS, "shop: first configuration under version control", date=FIRST)
        _write(work, {"checkout": _file("checkout", planted, pool_size=_pool("checkout"))})
        _commit(work, OPERATIONS, "checkout: halve the connection pool to save database slots", date=SECOND)
        (work / "README").write_text("One file a service. What main holds is deployed.\n", encoding="utf-8")
        _commit(work, OPERATIONS, "shop: say what this is", date=THIRD)
        _git(work, "push", "--quiet", "origin", BRANCH)


def _pool(service: str) -> int:
    return 8 if service == "checkout" else 16


def _file(service: str, planted: Planted, pool_size: int) -> str:
    """One service's configuration; careless, as found in the wild: credentials stand in it."""
    leaked = {"DEPLOY_TOKEN": planted.forge_token} if service == "storefront" else {}
    if service == "payments":
        leaked = {"AWS_ACCESS_KEY_ID": planted.cloud_key, "AWS_SECRET_ACCESS_KEY": planted.cloud_secret}
    credentials = "".join(f'{name} = "{value}"\n' for name, value in leaked.items())
    return (
        f'version = "{VERSIONS[service]}"\n'
        f'log_format = "{"json" if service in JSON_LOGS else "logfmt"}"\n'
        f'\n[database]\nurl = "postgresql://{service}:{planted.database_password}@db.shop.internal/{service}"\n'
        f"pool_size = {pool_size}\n"
        + SETTINGS.get(service, "")
        + (f"\n[credentials]\n{credentials}" if credentials else "")
    )


class _clone:  # noqa: N801 - used as a function is
    """A work tree of the branch, for as long as it takes to change something; it goes with the folder at the latest."""

    def __init__(self, bare: Path) -> None:
        self._bare = bare

    def __enter__(self) -> Path:
        self._scratch = tempfile.TemporaryDirectory(prefix="config-", dir=self._bare.parent)
        work = Path(self._scratch.name) / "config"
        _git(self._bare.parent, "clone", "--quiet", str(self._bare), str(work))
        _git(work, "checkout", "--quiet", "-B", BRANCH)
        return work

    def __exit__(self, *_: object) -> None:
        self._scratch.cleanup()


def _write(work: Path, files: Mapping[str, str]) -> bool:
    """Write the services' files; True where one changed."""
    changed = False
    for service, text in files.items():
        path = work / f"{service}.toml"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            changed = True
    return changed


def _now() -> str:
    return f"{int(time.time())} +0000"


def _commit(work: Path, author: Author, message: str, *, date: str) -> None:
    _git(work, "add", "--all")
    who = {"NAME": author.name, "EMAIL": author.email, "DATE": date}
    own = {f"GIT_{role}_{field}": value for role in ("AUTHOR", "COMMITTER") for field, value in who.items()}
    _git(work, "commit", "--quiet", "--no-gpg-sign", "--message", message, environment=own)


def _git(folder: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """Run git; its output. Raises ``CalledProcessError``."""
    clean = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "PATH": os.environ.get("PATH", os.defpath)}
    done = subprocess.run(  # noqa: S603 - fixed words
        ["git", "-C", str(folder), *arguments],  # noqa: S607 - git is found on PATH
        check=True,
        env={**clean, **(environment or {})},
        capture_output=True,
        text=True,
    )
    return done.stdout
