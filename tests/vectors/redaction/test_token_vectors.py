"""The token derivation is a format: vaults written by one version are read by the next."""

import json
from pathlib import Path

from broker.redaction import redact_text
from broker.redaction.tokens import MARK, TOKEN, SessionKeys

VECTORS = json.loads((Path(__file__).parent / "tokens.json").read_text())
KEY = bytes.fromhex(VECTORS["key"])


def test_tokens_are_what_earlier_versions_minted() -> None:
    keys = SessionKeys(KEY)
    for entity, value, token in VECTORS["tokens"]:
        assert keys.token(entity, value) == token
        assert keys.genuine(token)
        assert TOKEN.fullmatch(token)
    for address, token in VECTORS["addresses"]:
        assert keys.address(address) == token
        assert TOKEN.fullmatch(token)
    for address, token in VECTORS["hardware"]:
        assert keys.hardware(address) == token
        assert token.startswith("MAC_00_1B_44_")
        assert TOKEN.fullmatch(token)
    for value, digits in VECTORS["fingerprints"]:
        assert keys.fingerprint(value) == digits


def test_lines_read_as_they_did() -> None:
    for raw, hidden in VECTORS["lines"]:
        assert redact_text(raw, key=KEY)[0] == hidden
        assert TOKEN.search(hidden) or MARK.search(hidden)


def test_another_session_neither_shares_nor_accepts_a_token() -> None:
    keys = SessionKeys(b"\1" * 32)
    for entity, value, token in VECTORS["tokens"]:
        assert keys.token(entity, value) != token
    assert sum(keys.genuine(token) for _, _, token in VECTORS["tokens"]) == 0
