"""Pseudonyms: sealed, bound to their session, restored exactly and only where allowed, gone after shredding."""

import json
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from broker.clock import SeededClock
from broker.errors import ObligationFailed, RedactionUnavailable, StoreUnavailable
from broker.redaction import MemoryRows, Redactor, Scope, Vault, VaultRow
from broker.redaction.tokens import TOKEN

Run = Callable[[Coroutine[Any, Any, Any]], Any]
KEKS = {"eu": b"e" * 32, "us": b"u" * 32}
ALLOW = {"$.to": ("EMAIL",), "$.cc[*]": ("EMAIL", "PHONE"), "$.filter.ip": ("IP",)}


def _redact(run: Run, redactor: Redactor, value: Any, scope: Scope) -> Any:
    return run(redactor.redact(value, profile="default", scope=scope)).value


def test_restoring_gives_back_the_exact_bytes(run: Run, redactor: Redactor, scope: Scope) -> None:
    value = {
        "to": "Bob.O'Hara@Example.COM",
        "cc": ["+49 (0)151 2345-6789", "Zoë <zoe@example.org>"],
        "filter": {"ip": "8.8.8.8"},
    }
    hidden = _redact(run, redactor, value, scope)
    assert len(TOKEN.findall(json.dumps(hidden))) == 4
    assert run(redactor.restore(hidden, allow=ALLOW, scope=scope)) == value


def test_kept_parts_are_not_doubled_when_restored(run: Run, redactor: Redactor, scope: Scope) -> None:
    hidden = run(redactor.redact({"to": "bob@example.com"}, profile="domains", scope=scope)).value
    assert run(redactor.restore(hidden, allow=ALLOW, scope=scope)) == {"to": "bob@example.com"}


def test_a_token_at_a_path_without_permission_stays_a_token(run: Run, redactor: Redactor, scope: Scope) -> None:
    hidden = _redact(run, redactor, {"to": "bob@example.com", "text": "tell bob@example.com"}, scope)
    restored = run(redactor.restore(hidden, allow=ALLOW, scope=scope))
    assert restored["to"] == "bob@example.com"
    assert restored["text"] == hidden["text"]
    assert run(redactor.restore(hidden, allow={}, scope=scope)) == hidden


@pytest.mark.parametrize("change", ["last", "id", "lower", "foreign"])
def test_a_token_that_is_not_exactly_of_this_session_is_refused(
    run: Run, redactor: Redactor, scope: Scope, change: str
) -> None:
    token = _redact(run, redactor, "bob@example.com", scope)
    foreign = _redact(run, redactor, "bob@example.com", Scope("default", "ses_other", "eu"))
    swap = {"0": "1"}
    forged = {
        "last": token[:-1] + swap.get(token[-1], "0"),
        "id": token[:8] + swap.get(token[8], "0") + token[9:],
        "lower": token.lower(),
        "foreign": foreign,
    }[change]
    if change == "lower":
        assert run(redactor.restore({"to": forged}, allow=ALLOW, scope=scope)) == {"to": forged}
        return
    with pytest.raises(ObligationFailed) as refusal:
        run(redactor.restore({"to": forged}, allow=ALLOW, scope=scope))
    assert refusal.value.error_code == "redaction.token_unknown"
    assert refusal.value.reasons[0].params == {"path": "$.to"}


def test_an_entity_that_policy_does_not_allow_at_a_path_is_refused(run: Run, redactor: Redactor, scope: Scope) -> None:
    token = _redact(run, redactor, {"card": "4111111111111111"}, scope)["card"]
    with pytest.raises(ObligationFailed) as refusal:
        run(redactor.restore({"to": token}, allow=ALLOW, scope=scope))
    assert refusal.value.error_code == "redaction.token_not_allowed"


def test_forged_tokens_in_input_are_escaped_and_own_tokens_stay(run: Run, redactor: Redactor, scope: Scope) -> None:
    own = _redact(run, redactor, "bob@example.com", scope)
    done = _redact(run, redactor, f"ask {own} or EMAIL_7K3Q9M2XTB4C", scope)
    assert done == f"ask {own} or EMAIL~7K3Q9M2XTB4C"
    assert _redact(run, redactor, done, scope) == done


def test_a_token_minted_by_another_replica_is_known_here(
    run: Run, rows: MemoryRows, clock: SeededClock, scope: Scope
) -> None:
    one = Redactor(vault=Vault(rows, KEKS), profiles={}, clock=clock)
    two = Redactor(vault=Vault(rows, KEKS), profiles={}, clock=clock)

    async def story() -> tuple[str, str, dict]:
        await two.redact("nothing", profile="standard", scope=scope)
        token = (await one.redact("bob@example.com", profile="standard", scope=scope)).value
        seen = (await two.redact(f"ask {token}", profile="standard", scope=scope)).value
        return token, seen, await two.restore({"to": token}, allow=ALLOW, scope=scope)

    token, seen, back = run(story())
    assert seen == f"ask {token}"
    assert back == {"to": "bob@example.com"}


def test_no_value_stands_in_the_rows_in_clear(run: Run, redactor: Redactor, rows: MemoryRows, scope: Scope) -> None:
    _redact(run, redactor, ["bob@example.com", "password=hunter22", "AKIAIOSFODNN7EXAMPLE"], scope)
    stored = b"".join(row.sealed + row.token.encode() for row in rows.rows["default", "ses_a"].values())
    assert b"bob" not in stored
    assert {row.entity for row in rows.rows["default", "ses_a"].values()} == {"EMAIL"}, "secrets are never stored"


def test_a_row_moved_to_another_token_does_not_open(
    run: Run, rows: MemoryRows, clock: SeededClock, scope: Scope
) -> None:
    redactor = Redactor(vault=Vault(rows, KEKS), profiles={}, clock=clock)
    one, two = run(redactor.redact(["bob@example.com", "eve@example.com"], profile="standard", scope=scope)).value
    held = rows.rows["default", "ses_a"]
    held[one] = VaultRow(one, "EMAIL", held[two].sealed)
    fresh = Redactor(vault=Vault(rows, KEKS), profiles={}, clock=clock)
    with pytest.raises(RedactionUnavailable) as refusal:
        run(fresh.restore({"to": one}, allow=ALLOW, scope=scope))
    assert refusal.value.error_code == "redaction.vault_corrupt"


def test_after_shredding_no_pseudonym_of_the_session_returns(run: Run, redactor: Redactor, scope: Scope) -> None:
    token = _redact(run, redactor, "bob@example.com", scope)
    run(redactor.forget(scope))
    with pytest.raises(ObligationFailed):
        run(redactor.restore({"to": token}, allow=ALLOW, scope=scope))
    assert _redact(run, redactor, "bob@example.com", scope) != token


def test_shredding_elsewhere_is_seen_before_the_next_restore(
    run: Run, rows: MemoryRows, clock: SeededClock, scope: Scope
) -> None:
    one = Redactor(vault=Vault(rows, KEKS), profiles={}, clock=clock)
    two = Redactor(vault=Vault(rows, KEKS), profiles={}, clock=clock)
    token = run(one.redact("bob@example.com", profile="standard", scope=scope)).value
    run(two.forget(scope))
    with pytest.raises(ObligationFailed):
        run(one.restore({"to": token}, allow=ALLOW, scope=scope))


def test_a_region_without_key_and_a_session_of_another_region_are_refused(
    run: Run, redactor: Redactor, scope: Scope
) -> None:
    with pytest.raises(RedactionUnavailable) as refusal:
        run(redactor.redact("x", profile="default", scope=Scope("default", "ses_x", "mars")))
    assert refusal.value.error_code == "redaction.region"
    _redact(run, redactor, "bob@example.com", scope)
    with pytest.raises(RedactionUnavailable):
        run(redactor.redact("x", profile="default", scope=Scope("default", "ses_a", "us")))


class BrokenRows(MemoryRows):
    """A store whose disk is full."""

    async def put(self, tenant: str, session: str, rows: Sequence[VaultRow]) -> None:
        raise StoreUnavailable("no space left")


def test_nothing_is_released_when_a_pseudonym_cannot_be_stored(run: Run, clock: SeededClock, scope: Scope) -> None:
    redactor = Redactor(vault=Vault(BrokenRows(), KEKS), profiles={}, clock=clock)
    with pytest.raises(StoreUnavailable):
        run(redactor.redact("bob@example.com", profile="standard", scope=scope))
    assert run(redactor.redact("nothing to see", profile="standard", scope=scope)).value == "nothing to see"
