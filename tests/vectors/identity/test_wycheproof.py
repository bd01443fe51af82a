"""Every JOSE vector of project Wycheproof against the gate's signature check.

No forged vector may pass. Valid vectors may be refused only for a reason that stands in STRICT, with its count: this
gate believes fewer tokens than the RFCs allow.
"""

import json
from collections import Counter
from functools import cache
from typing import Any

import pytest

from broker.errors import Unauthenticated
from broker.identity.jose import ALGORITHMS, take_apart, verify
from broker.identity.keys import import_jwks
from tests.parts import corpus

FILES = {"json_web_signature_test.json": 401, "json_web_key_test.json": 26, "json_web_crypto_test.json": 83}

STRICT = {"symmetric algorithm": 16, "empty payload": 6, "key of another algorithm": 4}
"""Why this gate refuses vectors that a general library should accept, and how many of them."""

PRIVATE = ("d", "p", "q", "dp", "dq", "qi")


@cache
def vectors(name: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    document = json.loads((corpus("wycheproof") / "testvectors_v1" / name).read_text())
    assert sum(len(group["tests"]) for group in document["testGroups"]) == FILES[name]
    return [(group, case) for group in document["testGroups"] for case in group["tests"]]


def published(group: dict[str, Any]) -> list[dict[str, Any]]:
    """The group's keys as an issuer would publish them; a key without a name gets one, so that it is not skipped."""
    key = group.get("public") or group["private"]
    return [
        {"kid": "unnamed"} | {name: value for name, value in jwk.items() if name not in PRIVATE}
        for jwk in key.get("keys", [key])
    ]


def accepts(group: dict[str, Any], token: Any) -> bool:
    """The gate's path: import the key set, take the token apart, find the key by ``kid``, verify.

    A token without ``kid``, which the verifier refuses, is tried with the only key here: more reaches the mathematics.
    """
    keys = import_jwks(json.dumps({"keys": published(group)}).encode(), ALGORITHMS)
    try:
        compact = take_apart(token if isinstance(token, str) else json.dumps(token))
        key = keys.get(str(compact.header["kid"])) if "kid" in compact.header else next(iter(keys.values()), None)
        if key is None:
            return False
        verify(compact, key, ALGORITHMS)
    except Unauthenticated:
        return False
    return True


@pytest.mark.parametrize("name", FILES)
def test_no_forged_vector_is_accepted(name: str) -> None:
    forged = [(group, case) for group, case in vectors(name) if case["result"] != "valid"]
    assert len(forged) > FILES[name] // 2
    assert [case["tcId"] for group, case in forged if accepts(group, case.get("jws", case.get("jwe")))] == []


def test_valid_vectors_are_refused_only_for_the_documented_reasons() -> None:
    refused: Counter[str] = Counter()
    accepted: Counter[str] = Counter()
    for name in FILES:
        for group, case in vectors(name):
            if case["result"] == "valid" and "jws" in case:
                if accepts(group, case["jws"]):
                    accepted[published(group)[0]["kty"]] += 1
                else:
                    refused[reason(group, case["jws"])] += 1
    assert (dict(refused), dict(accepted)) == (STRICT, {"EC": 3, "RSA": 26})


def reason(group: dict[str, Any], token: str) -> str:
    keys = published(group)
    if all(key["kty"] == "oct" for key in keys):
        return "symmetric algorithm"
    if ".." in token:
        return "empty payload"
    if take_apart(token).algorithm not in [key.get("alg") for key in keys]:
        return "key of another algorithm"
    return f"not documented: {group['comment']}"
