"""The backends see the same, fail closed, and no input makes them slow."""

import random
import threading
import time

import pytest

from broker.redaction import redact_text
from broker.redaction.rules import ALL
from broker.redaction.scan import ANCHORS, Hits, Re2Scanner, ReferenceScanner, ScanFailed, Scanner, VectorScanner

SAMPLES = [
    "password=hunter2 bob@x.com, AKIAIOSFODNN7EXAMPLE 8.8.8.8 +49 151 23456789",
    'Authorization: Bearer eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2ln {"ssn":"078-05-1120"}',
    "card 4111 1111 1111 1111, GB82 WEST 1234 5698 7654 32, u%40example.com \\u0040 &#64;",
    "postgres://u:p@h/db xoxb-893582989554-899326518131-JRHeVv1o9Cf99fwDpuortR2D YWxpY2VAZXhhbXBsZS5jb20=",
]
BACKENDS = [Re2Scanner, ReferenceScanner]


@pytest.mark.parametrize("backend", BACKENDS)
def test_backends_agree_on_every_finding(backend: type[Scanner]) -> None:
    choose = random.Random(3)
    words = " ".join(SAMPLES).split(" ")
    other, fast = backend(), VectorScanner()
    for text in SAMPLES + [" ".join(choose.choices(words, k=40)) for _ in range(60)]:
        assert redact_text(text, key=b"k" * 32, scan=other) == redact_text(text, key=b"k" * 32, scan=fast)


def test_anchors_are_short_and_every_rule_names_its_source() -> None:
    assert all(len(anchor.expression) < 700 for anchor, _ in ANCHORS)
    assert all(rule.source for rule in ALL)
    assert len(ALL) > 80


def test_each_thread_has_a_scanner_of_its_own() -> None:
    results: list[str] = []

    def work() -> None:
        results.extend(redact_text(SAMPLES[0], key=b"k" * 32)[0] for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 80
    assert len(set(results)) == 1


class Broken:
    """An engine that fails."""

    def scan(self, text: str) -> Hits:
        raise ScanFailed("scratch in use")


def test_a_failing_engine_withholds_everything() -> None:
    text, findings = redact_text("bob@x.com", scan=Broken())
    assert text == "[UNSCANNED:scanner]"
    assert findings[0].entity == "UNSCANNED"


FAMILIES = {
    "dots": "a.", "jwt": "eyJ", "at": "a@", "ats": "@", "digits": "4111 ", "run": "4", "percent": "%41", "percents": "%25", "escape": "\\u0041", "slashes": "://a:",
    "begin": "-----BEGIN PRIVATE KEY-----", "password": "password=", "passwords": "password", "pass quote": "password='", "secret": "secret: ", "aws": "aws ", "aws40": "aws " + "a1B2" * 10,
    "braces": "{", "arrays": "[[", "json": '{"a":', "quotes": '"', "backslash": "\\", "b64": "QUFB", "gzip": "H4sI", "phone": "+1 ", "phone label": "phone 1", "call": "call me on ", "iban": "GB82 WEST ",
    "cookie": "cookie: a=b;", "auth": "authorization: ", "bearer": "bearer a1", "user": "user x password ", "credential": 'Credentials("', "fullwidth": "\uff41\uff0e", "zero": "\u200b", "token": "EMAIL_",
    "hex": "6a6a", "ip": "1.1.1.1.", "v6": "::1", "mac": "aa:", "sonar": "sonar", "heroku": "heroku key=", "spaces": " ", "lines": "\n", "kv": "key=", "okta": "okta", "under": "_",
}  # fmt: skip


def _cost(text: str) -> float:
    best = 1e9
    for _ in range(3):
        start = time.thread_time()
        redact_text(text, key=b"k" * 32)
        best = min(best, time.thread_time() - start)
    return best


@pytest.mark.parametrize("name", FAMILIES)
def test_no_family_of_inputs_grows_faster_than_its_size(name: str) -> None:
    unit = FAMILIES[name]
    small, large = (unit * (size // len(unit)) for size in (4_096, 32_768))
    ratio = _cost(large) / max(_cost(small), 2e-4)
    if ratio >= 8 * 3.5:  # a busy machine is not busy in the same way twice
        ratio = _cost(large) / max(_cost(small), 2e-4)
    assert ratio < 8 * 3.5, f"8 times the input cost {ratio:.0f} times the work"
