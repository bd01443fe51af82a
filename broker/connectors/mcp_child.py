"""Runs one command under limits, and ends whatever it started. A program of the standard library alone, not a module.

    python -I -S mcp_child.py PARENT MEMORY_BYTES CPU_SECONDS FILES PROCESSES COMMAND [ARGUMENT…]

It stands between the gate and a server of the gate's configuration, passes standard input and output through untouched,
and ends with the server. Where the kernel can (Linux), orphans of the server become its own, so that nothing the server
started outlives it; it ends them all when the server ends, when there are more than PROCESSES, when it gets SIGTERM, and
when the gate dies. Limits are each process's own: data memory, CPU time, open files, no core dumps. Zero is no limit.
Exit status: the server's, 127 where it could not be started, 128 and the signal where one ended it.
"""

import ctypes
import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
LOOK_SECONDS = 1.0
ROUNDS = 200


def descendants() -> list[int]:
    """Every process below this one, as /proc tells; none where there is no /proc."""
    below: dict[int, list[int]] = {}
    with suppress(FileNotFoundError):
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                with suppress(OSError, IndexError, ValueError):
                    state, parent = (folder / "stat").read_bytes().rpartition(b")")[2].split()[:2]
                    if state != b"Z":
                        below.setdefault(int(parent), []).append(int(folder.name))
    found, look = [], [os.getpid()]
    while look:
        children = below.get(look.pop(), [])
        found += children
        look += children
    return found


def end_all() -> None:
    """End what is below until nothing is; a process that forks meanwhile is found in the next round."""
    for _ in range(ROUNDS):
        living = descendants()
        for process in living:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not living:
            return


def start(command: list[str], limits: dict[int, int]) -> int:
    """The server, with its limits set before its first instruction."""
    child = os.fork()
    if child:
        return child
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        for kind, most in limits.items():
            if most:
                resource.setrlimit(kind, (most, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.execve(command[0], command, os.environ)  # noqa: S606 - no shell is the point
    finally:
        os._exit(127)


def main(bounds: list[int], command: list[str]) -> int:
    """Watch one server to its end."""
    parent, memory, cpu, files, processes = bounds
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGTERM})
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        library.prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != parent:
        return 127
    server = start(command, {resource.RLIMIT_DATA: memory, resource.RLIMIT_CPU: cpu, resource.RLIMIT_NOFILE: files})
    nowhere = os.open(os.devnull, os.O_RDWR)
    for passed in (0, 1):
        os.dup2(nowhere, passed)
    while True:
        told = signal.sigtimedwait({signal.SIGCHLD, signal.SIGTERM}, LOOK_SECONDS)
        if told is not None and told.si_signo == signal.SIGTERM:
            end_all()
            return 128 + signal.SIGTERM
        ended = status = 0
        with suppress(ChildProcessError):
            while True:
                ended, status = os.waitpid(-1, os.WNOHANG)
                if ended in {0, server}:
                    break
        if ended == server:
            end_all()
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        if processes and len(descendants()) > processes:
            end_all()
            return 128 + signal.SIGKILL


if __name__ == "__main__":
    sys.exit(main([int(bound) for bound in sys.argv[1:6]], sys.argv[6:]))
