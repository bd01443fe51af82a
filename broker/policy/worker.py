"""The process in which regorus evaluates; started as ``python -I -B worker.py FD CPU_SECONDS``.

It imports nothing of ours, has an empty environment and one descriptor, and is as expendable as a process can be: the
kernel ends it (SIGPROF, not caught) when one evaluation has used CPU_SECONDS of its own CPU time, and its parent ends
it by the clock. Frames both ways: ``<u32 little-endian length><1 byte word><payload>``.

Words in: ``L`` load ``{"modules": [[path, text]…], "data": {…}, "entrypoint": …}``; ``D`` decide on input bytes;
``T`` the values of many rules on one input (for explaining, not for deciding); ``A`` the syntax trees of ``[[path, text]…]``. Words out: ``+`` with a payload,
``0`` undefined, ``!`` with the name of what failed: the text of an evaluation error can hold input values and never
leaves this process.
"""

import contextlib
import json
import resource
import signal
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any

import regorus

LOAD_CPU_SECONDS = 10.0
MEMORY_BYTES = 2 * 1024**3


class _Evaluator:
    """One loaded program; every evaluation runs on a fresh clone of an evaluated base whose input is ``{}``."""

    def __init__(self) -> None:
        self._base: Any = None
        self._entrypoint = ""

    def load(self, payload: bytes) -> bytes:
        program = json.loads(payload)
        base = regorus.Engine()
        for path, text in program["modules"]:
            base.add_policy(path, text)
        base.add_data_json(json.dumps(program["data"]))
        base.set_input_json("{}")
        with contextlib.suppress(RuntimeError):
            base.eval_rule_as_json(program["entrypoint"])  # compiles; an error on {} is the policy's own affair
        self._base, self._entrypoint = base, program["entrypoint"]
        return json.dumps(base.get_packages()).encode()

    def decide(self, payload: bytes) -> bytes:
        engine = self._base.clone()
        engine.set_input_json(payload.decode())
        return str(engine.eval_rule_as_json(self._entrypoint)).encode()

    def trace(self, payload: bytes) -> bytes:
        """The value of each rule that has one; a rule that fails on this input is left out."""
        question = json.loads(payload)
        values = {}
        for rule in question["rules"]:
            engine = self._base.clone()
            engine.set_input_json(question["input"])
            with contextlib.suppress(RuntimeError):
                value = engine.eval_rule_as_json(rule)
                if value != '"<undefined>"':
                    values[rule] = json.loads(value)
        return json.dumps(values).encode()

    def trees(self, payload: bytes) -> bytes:
        """Per module ``{"tree"}`` or ``{"error"}``; policy text is no secret, so the error stands in full."""
        found = []
        for path, text in json.loads(payload):
            engine = regorus.Engine()
            try:
                engine.add_policy(path, text)
                found.append({"tree": json.loads(engine.get_ast_as_json())[0]["ast"]})
            except RuntimeError as error:
                found.append({"error": str(error)})
        return json.dumps(found).encode()


def _answer(action: Callable[[bytes], bytes], payload: bytes, *, loading: bool) -> bytes:
    """Run one action and frame what came of it."""
    try:
        value = action(payload)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - a Rust panic is no Exception, and every fault is an answer here
        name = str(error)[:4000] if loading else type(error).__name__
        return b"!" + name.encode()
    return b"0" if value == b'"<undefined>"' else b"+" + value


def _read(sock: socket.socket, count: int) -> bytes:
    """Exactly ``count`` bytes, or an end of the process when the parent is gone."""
    parts = bytearray()
    while len(parts) < count:
        piece = sock.recv(count - len(parts))
        if not piece:
            sys.exit(0)
        parts += piece
    return bytes(parts)


def main(descriptor: int, cpu_seconds: float) -> None:
    """Serve frames until the parent closes the socket."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold inputs
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    evaluator = _Evaluator()
    actions = {b"L": evaluator.load, b"D": evaluator.decide, b"T": evaluator.trace, b"A": evaluator.trees}
    sock = socket.socket(fileno=descriptor)
    while True:
        (length,) = struct.unpack("<I", _read(sock, 4))
        frame = _read(sock, length)
        word = frame[:1]
        signal.setitimer(signal.ITIMER_PROF, cpu_seconds if word == b"D" else LOAD_CPU_SECONDS)
        answer = _answer(actions[word], frame[1:], loading=word in {b"L", b"A"})
        signal.setitimer(signal.ITIMER_PROF, 0)
        sock.sendall(struct.pack("<I", len(answer)) + answer)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
