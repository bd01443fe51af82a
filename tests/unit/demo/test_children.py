"""The demo's processes are gone when it is gone, however it went."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from demo.children import ChildEnded, Children

# A child with a grandchild; both hold the pipe's write end, so its end of file says that both are gone.
FAMILY = "import os,subprocess,sys,time; subprocess.Popen([sys.executable,'-c','import time; time.sleep(600)'],close_fds=False); time.sleep(600)"
STUBBORN = "import signal,time; signal.signal(signal.SIGTERM,signal.SIG_IGN); time.sleep(600)"
PARENT = """
import sys, time
from pathlib import Path
from demo.children import Children
import subprocess
folder, code, fd = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
spawn = subprocess.Popen
subprocess.Popen = lambda *a, **k: spawn(*a, **{**k, 'pass_fds': (fd,)} if a[0][-1] == code else k)
children = Children(folder, remove=folder / 'data')
children.start('family', [sys.executable, '-c', code], environment={})
print('up', flush=True)
time.sleep(600)
"""


def gone(read_end: int) -> bool:
    """Block until every holder of the pipe's other end is gone."""
    return os.read(read_end, 1) == b""


@pytest.mark.parametrize("code", [FAMILY, STUBBORN])
def test_when_the_demo_is_killed_outright_its_children_and_its_folder_go(code: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "file").write_text("x")
    read_end, write_end = os.pipe()
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path), code, str(write_end)],
        stdout=subprocess.PIPE,
        pass_fds=(write_end,),
    )
    os.close(write_end)
    assert parent.stdout is not None
    with parent, os.fdopen(read_end) as pipe:
        assert parent.stdout.readline() == b"up\n"
        parent.send_signal(signal.SIGKILL)
        assert gone(pipe.fileno())
    for _ in range(10_000_000):
        if not (tmp_path / "data").exists():
            break
    assert not (tmp_path / "data").exists()


def test_closing_ends_all_and_keeps_the_folder_where_it_is_wanted(tmp_path: Path) -> None:
    for keep in (True, False):
        data = tmp_path / str(keep)
        data.mkdir()
        children = Children(tmp_path, remove=data)
        child = children.start("stubborn", [sys.executable, "-c", STUBBORN], environment={})
        children.close(keep=keep)
        assert child.poll() is not None
        assert data.exists() is keep


def test_a_process_that_ended_by_itself_is_named_with_its_last_words(tmp_path: Path) -> None:
    children = Children(tmp_path, remove=None)
    try:
        children.start("gate", [sys.executable, "-c", "raise SystemExit('no port')"], environment={})
        with pytest.raises(ChildEnded, match="gate ended with 1; its last words: no port"):
            children.until("readiness", lambda: False, seconds=20)
    finally:
        children.close(keep=True)


def test_what_does_not_happen_in_time_is_named(tmp_path: Path) -> None:
    children = Children(tmp_path, remove=None)
    try:
        with pytest.raises(TimeoutError, match="readiness did not happen"):
            children.until("readiness", lambda: False, seconds=0)
    finally:
        children.close(keep=True)


def test_a_child_gets_the_named_environment_and_nothing_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WICKETGATE_DEV_CODE", "secret")
    children = Children(tmp_path, remove=None)
    try:
        code = "import os; print(sorted(k for k in os.environ if not k.startswith(('LC_','__'))))"
        child = children.start("agent", [sys.executable, "-c", code], environment={"A": "1"}, reports=True)
        assert child.stdout is not None
        assert child.stdout.read() == b"['A']\n"
        child.stdout.close()
    finally:
        children.close(keep=True)
