"""Where tokens come from, and when the client asks again."""

import asyncio
import base64
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from wicketgate import Gate, NotAuthenticated, Resource, token_command, token_file, token_of

from tests.sim.gate import TOKEN, simulated_gate


def jwt(exp: int) -> str:
    part = base64.urlsafe_b64encode(json.dumps({"exp": exp}).encode()).decode().rstrip("=")
    return f"e30.{part}.c2ln"


def counting_command(folder: Path, tokens: list[str]) -> tuple[tuple[str, ...], Callable[[], int]]:
    """A command that prints the next of ``tokens`` each time it runs."""
    state = folder / "runs"
    state.write_text("0")
    script = f"p={str(state)!r}; n=int(open(p).read()); open(p,'w').write(str(n+1)); print({tokens!r}[n])"
    return (sys.executable, "-c", script), lambda: int(state.read_text())


def test_a_command_s_token_is_kept_until_shortly_before_it_expires(tmp_path: Path) -> None:
    command, runs = counting_command(tmp_path, [jwt(1000), jwt(2000)])
    now = [0.0]
    current = token_command(*command, now=lambda: now[0])

    async def main() -> Any:
        first = await token_of(current)
        now[0] = 969
        again = await token_of(current)
        assert runs() == 1
        now[0] = 971
        return first, again, await token_of(current)

    assert asyncio.run(main()) == (jwt(1000), jwt(1000), jwt(2000))


def test_a_command_that_fails_is_named_and_its_output_is_not(tmp_path: Path) -> None:
    current = token_command(sys.executable, "-c", "print('half a token'); raise SystemExit(3)")
    with pytest.raises(NotAuthenticated) as caught:
        asyncio.run(token_of(current))
    assert caught.value.code == "identity.no_token"
    assert "ended with 3" in str(caught.value)
    assert "half" not in str(caught.value)


def test_a_file_s_token_is_read_at_each_request(tmp_path: Path) -> None:
    path = tmp_path / "token"
    source = token_file(path)
    path.write_text("one\n")
    assert asyncio.run(token_of(source)) == "one"
    path.write_text("two\n")
    assert asyncio.run(token_of(source)) == "two"


@pytest.mark.parametrize("source", ["", lambda: "  ", token_file("/nonexistent/token")])
def test_no_token_is_refused_before_anything_is_sent(source: Any) -> None:
    async def main(url: str) -> None:
        async with Gate(url, source) as gate:
            await gate.act("a.b.c", Resource("process", "x", "prod"), session="ses_x")

    with simulated_gate() as gate:
        with pytest.raises(NotAuthenticated):
            asyncio.run(main(gate.url))
        assert gate.seen == []


def test_after_a_401_a_fresh_token_is_fetched_once(tmp_path: Path) -> None:
    command, runs = counting_command(tmp_path, [jwt(5_000_000_000), TOKEN, TOKEN])

    async def main(url: str) -> None:
        async with Gate(url, token_command(*command)) as gate:
            await gate.act("a.b.c", Resource("process", "x", "prod"), session="ses_x")

    with simulated_gate() as gate:
        asyncio.run(main(gate.url))
        assert runs() == 2
        assert len(set(gate.keys())) == 1


def test_a_token_that_stays_wrong_ends_in_not_authenticated() -> None:
    asked = []

    def source() -> str:
        asked.append(1)
        return "wrong"

    async def main(url: str) -> None:
        async with Gate(url, source) as gate:
            await gate.act("a.b.c", Resource("process", "x", "prod"), session="ses_x")

    with simulated_gate() as gate, pytest.raises(NotAuthenticated):
        asyncio.run(main(gate.url))
    assert len(asked) == 2
