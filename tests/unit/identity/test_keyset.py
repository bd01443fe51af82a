"""Keys come, rotate, vanish and grow old; the issuer goes down and lies."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from broker.clock import SeededClock
from broker.errors import BrokerError, Unauthenticated, Unavailable, UpstreamFailed
from broker.identity import Credential, Verifier
from broker.identity.keyset import IssuerKeys, KeySetTimes
from broker.model import Principal
from tests.sim.issuer import Issuer, compact

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture
def issuer(clock: SeededClock) -> Issuer:
    return Issuer(clock)


async def ask(verifier: Verifier, token: str) -> Principal:
    return await verifier.authenticate(Credential(f"Bearer {token}"))


async def refusal(verifier: Verifier, token: str) -> str:
    try:
        await ask(verifier, token)
    except BrokerError as error:
        return error.error_code
    return ""


def test_keys_are_fetched_once_for_many_tokens_at_once(issuer: Issuer, clock: SeededClock, run: Run) -> None:
    async def main() -> None:
        verifier = Verifier([issuer.profile()], issuer.fetch, clock)
        await asyncio.gather(*(ask(verifier, issuer.token()) for _ in range(20)))

    run(main())
    assert issuer.asked == ["https://id.example/jwks"]


def test_a_caller_that_goes_away_does_not_take_the_fetch_from_the_others(
    issuer: Issuer, clock: SeededClock, run: Run
) -> None:
    async def main() -> None:
        reached, released = asyncio.Event(), asyncio.Event()

        async def slow(url: str) -> bytes:
            reached.set()
            await released.wait()
            return await issuer.fetch(url)

        verifier = Verifier([issuer.profile()], slow, clock)
        leaver = asyncio.create_task(ask(verifier, issuer.token()))
        stayer = asyncio.create_task(ask(verifier, issuer.token()))
        await reached.wait()
        leaver.cancel()
        await asyncio.gather(leaver, return_exceptions=True)
        released.set()
        assert (await stayer).subject.id == "corp:alice"

    run(main())
    assert len(issuer.asked) == 1


def test_a_rotated_key_is_fetched_when_first_seen_and_the_old_one_still_verifies(
    issuer: Issuer, clock: SeededClock, run: Run
) -> None:
    async def main() -> None:
        verifier = Verifier([issuer.profile()], issuer.fetch, clock)
        old = issuer.token()
        await ask(verifier, old)
        clock.advance(31)
        issuer.rotate()
        await ask(verifier, issuer.token())
        assert len(issuer.asked) == 2
        await ask(verifier, old)

    run(main())


def test_unknown_kids_make_the_gate_ask_once_in_thirty_seconds_whoever_sends_them(
    issuer: Issuer, clock: SeededClock, run: Run
) -> None:
    async def main() -> None:
        verifier = Verifier([issuer.profile()], issuer.fetch, clock)
        await ask(verifier, issuer.token())
        clock.advance(31)
        for n in range(50):
            assert await refusal(verifier, issuer.token(kid=f"guess-{n}")) == "identity.unknown_key"
        assert len(issuer.asked) == 2
        clock.advance(30)
        assert await refusal(verifier, issuer.token(kid="guess-again")) == "identity.unknown_key"
        assert len(issuer.asked) == 3

    run(main())


def test_a_removed_key_dies_within_two_ttl_though_its_tokens_were_cached(
    issuer: Issuer, clock: SeededClock, run: Run
) -> None:
    async def main() -> None:
        verifier = Verifier([issuer.profile(lifetime_seconds_max=7200)], issuer.fetch, clock)
        token = issuer.token(issuer.claims(exp=issuer.claims()["iat"] + 7200))
        await ask(verifier, token)
        old = issuer.current
        issuer.rotate()
        issuer.withdraw(old)
        clock.advance(1200)
        assert await refusal(verifier, token) == "identity.unknown_key"

    run(main())


def test_between_one_and_two_ttl_the_old_keys_serve_while_new_ones_are_fetched_beside(
    issuer: Issuer, clock: SeededClock, run: Run
) -> None:
    async def main() -> None:
        verifier = Verifier([issuer.profile()], issuer.fetch, clock)
        await ask(verifier, issuer.token())
        clock.advance(601)
        answered = asyncio.Event()

        async def blocked(url: str) -> bytes:
            await answered.wait()
            return await issuer.fetch(url)

        keys = verifier._keys["corp"]
        keys._fetch = blocked
        await ask(verifier, issuer.token())
        assert len(issuer.asked) == 1
        answered.set()
        assert keys._running is not None
        await keys._running
        assert len(issuer.asked) == 2

    run(main())


def test_a_cached_token_dies_at_once_when_a_refresh_brings_other_keys(
    issuer: Issuer, clock: SeededClock, run: Run
) -> None:
    async def main() -> None:
        verifier = Verifier([issuer.profile()], issuer.fetch, clock)
        token = issuer.token()
        await ask(verifier, token)
        old = issuer.current
        issuer.rotate()
        issuer.withdraw(old)
        clock.advance(30)
        await verifier.refresh()
        assert await refusal(verifier, token) == "identity.unknown_key"

    run(main())


def test_a_silent_issuer_is_tolerated_for_a_day_and_then_nothing_is_believed(
    issuer: Issuer, clock: SeededClock, run: Run
) -> None:
    async def main() -> None:
        verifier = Verifier([issuer.profile()], issuer.fetch, clock)
        await ask(verifier, issuer.token())
        issuer.down = OSError("refused")
        clock.advance(86_399)
        token = issuer.token()
        assert await ask(verifier, token)
        assert verifier.ready
        clock.advance(1)
        assert not verifier.ready
        assert await refusal(verifier, token) == "identity.keys_unavailable"
        issuer.down = None
        clock.advance(30)
        assert await ask(verifier, token)

    run(main())


@pytest.mark.parametrize("failure", [OSError("x"), TimeoutError(), UpstreamFailed("x")])
def test_an_issuer_that_never_answered_gives_unavailable_and_not_unauthenticated(
    failure: Exception, issuer: Issuer, clock: SeededClock, run: Run
) -> None:
    async def main() -> None:
        issuer.down = failure
        verifier = Verifier([issuer.profile()], issuer.fetch, clock)
        for _ in range(3):
            with pytest.raises(Unavailable) as error:
                await ask(verifier, issuer.token())
            assert error.value.retry_after == 30
        assert len(issuer.asked) == 1
        assert not verifier.ready

    run(main())


def test_an_unknown_kid_while_the_issuer_is_down_is_unavailable_because_nobody_can_say(
    issuer: Issuer, clock: SeededClock, run: Run
) -> None:
    async def main() -> None:
        verifier = Verifier([issuer.profile()], issuer.fetch, clock)
        await ask(verifier, issuer.token())
        issuer.rotate()
        issuer.down = OSError("refused")
        clock.advance(31)
        assert await refusal(verifier, issuer.token()) == "identity.keys_unavailable"

    run(main())


def test_an_issuer_that_answers_too_slowly_is_given_up(issuer: Issuer, clock: SeededClock, run: Run) -> None:
    async def never(url: str) -> bytes:
        await asyncio.Event().wait()
        return b""

    async def main() -> None:
        keys = IssuerKeys(issuer.profile(), never, clock, KeySetTimes(fetch_max=0.01))
        with pytest.raises(Unavailable):
            await keys.key("k1")

    run(main())


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"keys":{}}',
        b'{"keys":["k1"]}',
        b'{"keys":[],"keys":[]}',
        compact({"keys": [{}] * 129}),
        b'{"keys":[' + b" " * 262_144 + b"]}",
    ],
    ids=["empty", "html", "list", "no keys", "keys object", "keys of text", "keys twice", "too many", "too large"],
)
def test_what_is_no_key_set_leaves_the_old_keys_in_place(
    document: bytes, issuer: Issuer, clock: SeededClock, run: Run
) -> None:
    async def main() -> None:
        keys = IssuerKeys(issuer.profile(), issuer.fetch, clock)
        before = await keys.key("k1")

        async def broken(url: str) -> bytes:
            return document

        keys._fetch = broken
        clock.advance(700)
        await keys.refresh()
        assert await keys.key("k1") is before
        assert keys.generation == 1

    run(main())


def test_keys_are_found_by_discovery_when_no_address_is_configured(
    issuer: Issuer, clock: SeededClock, run: Run
) -> None:
    verifier = Verifier([issuer.profile(jwks_uri="")], issuer.fetch, clock)
    run(ask(verifier, issuer.token()))
    assert issuer.asked == ["https://id.example/.well-known/openid-configuration", "https://id.example/jwks"]


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://evil.example", "jwks_uri": "https://id.example/jwks"},
        {"issuer": "https://id.example/", "jwks_uri": "https://id.example/jwks"},
        {"issuer": "https://id.example"},
        {"issuer": "https://id.example", "jwks_uri": "http://id.example/jwks"},
        {"issuer": "https://id.example", "jwks_uri": "http://127.0.0.1/jwks"},
        {"issuer": "https://id.example", "jwks_uri": "file:///etc/passwd"},
        {"issuer": "https://id.example", "jwks_uri": "https://user@id.example/jwks"},
    ],
)
def test_a_discovery_document_that_names_another_issuer_or_an_unsafe_address_is_not_followed(
    metadata: dict[str, str], issuer: Issuer, clock: SeededClock, run: Run
) -> None:
    asked = []

    async def fetch(url: str) -> bytes:
        asked.append(url)
        return json.dumps(metadata).encode()

    verifier = Verifier([issuer.profile(jwks_uri="")], fetch, clock)
    with pytest.raises(Unavailable):
        run(ask(verifier, issuer.token()))
    assert len(asked) == 1


def test_readiness_needs_the_keys_of_every_issuer(clock: SeededClock, run: Run) -> None:
    corp, partner = Issuer(clock), Issuer(clock, "https://partner.example")

    async def fetch(url: str) -> bytes:
        return await (corp if url.startswith(corp.url) else partner).fetch(url)

    async def main() -> None:
        verifier = Verifier([corp.profile(), partner.profile(name="partner")], fetch, clock)
        partner.down = OSError("refused")
        await verifier.refresh()
        assert not verifier.ready
        partner.down = None
        clock.advance(31)
        await verifier.refresh()
        assert verifier.ready

    run(main())


def test_a_key_that_the_set_names_twice_is_not_used(issuer: Issuer, clock: SeededClock, run: Run) -> None:
    async def main() -> None:
        other = issuer.rotate()
        issuer.published[other]["kid"] = "k1"
        issuer.current = "k1"
        verifier = Verifier([issuer.profile()], issuer.fetch, clock)
        with pytest.raises(Unauthenticated):
            await ask(verifier, issuer.token())

    run(main())
