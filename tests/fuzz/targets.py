"""Laws that hold for any bytes, one target each."""

import asyncio
import functools
import json
from collections.abc import Callable, Mapping
from typing import Any

from broker import strictjson
from broker.clock import SeededClock
from broker.errors import BadRequest, TooLarge, Unauthenticated
from broker.identity import Credential, Verifier
from broker.redaction import MemoryRows, Redactor, Scope, Vault
from tests.sim.issuer import Issuer

Target = Callable[[bytes], None]
PLANTED = ("alice.miller@example.com", "4111 1111 1111 1111", "ghp_XIxB7KMNdAr3zqWtQqhE94qglHqOzn1D1stg")
SCOPE = Scope("default", "ses_a", "eu")
_INTEGER_MAX = 2**53
_TELLING = 16
"""Characters from which on a repetition is no coincidence."""


def strict_reader(data: bytes) -> None:
    """It refuses by name, or reads what Python's own parser reads, with no key twice and no number inexact."""
    for floats in (False, True):
        try:
            value = strictjson.read(data, floats=floats)
        except (BadRequest, TooLarge):
            continue
        assert json.loads(data, object_pairs_hook=_once, parse_constant=_none) == value
        _exact(value, floats=floats)
        data.decode("utf-8")
        json.dumps(value, ensure_ascii=False).encode("utf-8")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len({name for name, _ in pairs}) == len(pairs), "a key twice"
    return dict(pairs)


def _none(word: str) -> None:
    raise AssertionError(word)


def _exact(value: Any, *, floats: bool) -> None:
    if isinstance(value, float):
        assert floats
        assert value == value  # noqa: PLR0124 - not a number
        assert abs(value) != float("inf")
    elif isinstance(value, int):
        assert abs(value) <= _INTEGER_MAX
    for below in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _exact(below, floats=floats)


@functools.cache
def _issued() -> tuple[asyncio.AbstractEventLoop, Verifier, str]:
    issuer = Issuer(SeededClock())
    verifier = Verifier([issuer.profile()], issuer.fetch, issuer.clock)
    return asyncio.new_event_loop(), verifier, f"Bearer {issuer.token()}"


def token_verifier(data: bytes) -> None:
    """It refuses, whatever comes but the one token that was issued; and nothing that came stands in the refusal."""
    loop, verifier, good = _issued()
    shown = data.decode("latin-1")
    try:
        loop.run_until_complete(verifier.authenticate(Credential(shown)))
    except Unauthenticated as error:
        refused: Unauthenticated | None = error
    else:
        refused = None
    if refused is not None:
        assert shown != good
        assert len(shown) < _TELLING or shown not in f"{refused.detail} {refused.error_remedy}"
        return
    # The scheme's case and the spaces behind it are HTTP's; the token is what it is to the bit.
    assert shown.split(" ", 1)[0].lower() == "bearer"
    assert shown.split(" ", 1)[1].strip() == good.removeprefix("Bearer "), shown


@functools.cache
def _redactor() -> tuple[asyncio.AbstractEventLoop, Redactor]:
    vault = Vault(MemoryRows(), {"eu": b"e" * 32})
    return asyncio.new_event_loop(), Redactor(vault=vault, profiles={}, clock=SeededClock())


def redaction_walk(data: bytes) -> None:
    """What is planted never comes out, in whatever text or value it stands, and redacting twice is redacting once."""
    loop, redactor = _redactor()
    around = data.decode("utf-8", errors="replace")
    half = len(around) // 2
    for planted in PLANTED:
        text = f"{around[:half]}\n{planted}\n{around[half:]}"
        value: object = {"text": text, around[:40]: [planted, {"value": around, planted: 1}], "parsed": _parsed(data)}
        once = loop.run_until_complete(redactor.redact(value, profile="standard", scope=SCOPE)).value
        assert planted not in json.dumps(once, ensure_ascii=False), planted
        again = loop.run_until_complete(redactor.redact(once, profile="standard", scope=SCOPE)).value
        assert again == once


def _parsed(data: bytes) -> object:
    """The value that the bytes say, where they say one."""
    try:
        return strictjson.read(data, floats=True)
    except (BadRequest, TooLarge):
        return None


def seeds() -> Mapping[str, list[bytes]]:
    """Where each target begins."""
    _, _, good = _issued()
    return {
        "strict_reader": [
            *(
                b'{"a": 1, "b": [true, null, "\\u00e9"], "c": {"d": -0}}',
                b'{"a":1,"\\u0061":2}',
                b'"\\ud800"',
                b"1e400",
            ),
            *(b"9007199254740993", b'{"a": 0.1}', b"[" * 70 + b"]" * 70, b"\xef\xbb\xbf{}", b'{"a":"\\":\\""}', b"NaN"),
        ],
        "token_verifier": [good.encode(), good.replace("Bearer", "bearer").encode(), b"Bearer a.b.c", b"", b"DPoP x"],
        "redaction_walk": [
            *(
                b"user=bob password=hunter2x",
                b'{"user": {"email": "x@y.example"}}',
                b"-----BEGIN PRIVATE KEY-----\nMIIE",
            ),
            *(
                "\u0430lice@ex\u0430mple.com".encode(),
                b'{"email": "x@y.ex?mple"}',
                b"Cookie: sid=1; a=b\n",
                b"YWxpY2VAZXhhbXBsZS5jb20=",
                b"%40%41" * 9,
            ),
        ],
    }


TARGETS: Mapping[str, Target] = {one.__name__: one for one in (strict_reader, token_verifier, redaction_walk)}
