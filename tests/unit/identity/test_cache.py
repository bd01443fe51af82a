"""Remembered tokens die in time, revoked ones at once."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from broker.clock import SeededClock, seconds
from broker.errors import Unauthenticated
from broker.identity import Credential, Verifier
from broker.identity.cache import TokenCache, Verified
from broker.model import Party, PartyKind, Principal
from tests.sim.issuer import Issuer

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture
def issuer(clock: SeededClock) -> Issuer:
    return Issuer(clock)


def code(verifier: Verifier, token: str) -> str:
    try:
        asyncio.run(verifier.authenticate(Credential(f"Bearer {token}")))
    except Unauthenticated as error:
        return error.error_code
    return "believed"


def test_a_token_is_verified_once_a_minute_however_often_it_comes(issuer: Issuer, clock: SeededClock, run: Run) -> None:
    verifier = Verifier([issuer.profile()], issuer.fetch, clock)
    credential = Credential(f"Bearer {issuer.token()}")

    async def main() -> None:
        first = await verifier.authenticate(credential)
        clock.advance(59)
        assert await verifier.authenticate(credential) is first
        clock.advance(1)
        assert await verifier.authenticate(credential) is not first

    run(main())


def test_fetching_the_same_keys_again_keeps_what_is_remembered(issuer: Issuer, clock: SeededClock, run: Run) -> None:
    verifier = Verifier([issuer.profile()], issuer.fetch, clock)
    credential = Credential(f"Bearer {issuer.token()}")

    async def main() -> None:
        first = await verifier.authenticate(credential)
        clock.advance(31)
        await verifier.refresh()
        assert len(issuer.asked) == 2
        assert await verifier.authenticate(credential) is first

    run(main())


def test_a_cached_token_expires_by_its_own_time(issuer: Issuer, clock: SeededClock) -> None:
    verifier = Verifier([issuer.profile()], issuer.fetch, clock)
    token = issuer.token(issuer.claims(exp=seconds(clock) + 5))
    assert code(verifier, token) == "believed"
    clock.advance(35)
    assert code(verifier, token) == "identity.expired"


def test_setting_the_wall_clock_forward_expires_cached_tokens_too(issuer: Issuer, clock: SeededClock) -> None:
    verifier = Verifier([issuer.profile()], issuer.fetch, clock)
    token = issuer.token()
    assert code(verifier, token) == "believed"
    clock.step_wall(3600)
    assert code(verifier, token) == "identity.expired"


def test_setting_the_wall_clock_back_does_not_keep_a_cached_token_alive(issuer: Issuer, clock: SeededClock) -> None:
    verifier = Verifier([issuer.profile()], issuer.fetch, clock)
    token = issuer.token()
    assert code(verifier, token) == "believed"
    clock.step_wall(-3600)
    clock.advance(60)
    assert code(verifier, token) == "identity.not_yet_valid"


def test_a_refused_token_is_not_remembered(issuer: Issuer, clock: SeededClock) -> None:
    verifier = Verifier([issuer.profile()], issuer.fetch, clock)
    token = issuer.token(issuer.claims(nbf=seconds(clock) + 40))
    assert code(verifier, token) == "identity.not_yet_valid"
    clock.advance(10)
    assert code(verifier, token) == "believed"


def test_the_cache_is_bounded_and_the_oldest_entry_goes(clock: SeededClock) -> None:
    cache = TokenCache(entries_max=3)
    who = Principal("t", Party("a:b", PartyKind.HUMAN), "i", 0)
    for n in range(5):
        cache.put(bytes([n]), Verified(who, "a", 0, 1e9, 2**62))
    assert [bool(cache.get(bytes([n]), clock)) for n in range(5)] == [False, False, True, True, True]
    assert len(cache) == 3


def test_no_part_of_a_token_is_kept(issuer: Issuer, clock: SeededClock) -> None:
    verifier = Verifier([issuer.profile()], issuer.fetch, clock)
    token = issuer.token()
    assert code(verifier, token) == "believed"
    kept = repr(verifier._cache._entries) + repr(Credential(f"Bearer {token}"))
    assert not any(part in kept for part in token.split("."))
