"""The whole pass over values: keys decide, content decides, nothing is skipped, the caller's object stays."""

import copy
import datetime as dt
import json
import re
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from broker.clock import SeededClock
from broker.errors import RedactionUnavailable
from broker.redaction import MemoryRows, Redactor, Scope, Vault
from broker.redaction.redactor import LARGE

Run = Callable[[Coroutine[Any, Any, Any]], Any]
PEM = (
    "-----BEGIN RSA PRIVATE KEY-----\n"
    + "\n".join(["MIIEowIBAAKCAQEAuQx7" * 3] * 80)
    + "\n-----END RSA PRIVATE KEY-----"
)
JWT = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJlLXRoYXQtaXMtbG9uZw"
LEAKS = {
    "aws pair": (
        "AKIAIOSFODNN7EXAMPLE",
        "aws_secret_access_key=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY id AKIAIOSFODNN7EXAMPLE",
    ),
    "aws secret": (
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "using AKIAIOSFODNN7EXAMPLE with wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    ),
    "github": ("ghp_XIxB7KMNdAr3zqWtQqhE94qglHqOzn1D1stg", "remote: ghp_XIxB7KMNdAr3zqWtQqhE94qglHqOzn1D1stg rejected"),
    "bearer jwt": (JWT, f"GET /x HTTP/1.1\r\nAuthorization: Bearer {JWT}\r\nHost: a"),
    "bare jwt": (JWT, f"session {JWT} expired"),
    "opaque bearer": ("mF_9.B5f-4.1JqM", "Authorization: Bearer mF_9.B5f-4.1JqM"),
    "basic": ("QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "authorization=Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
    "jdbc": ("s3cr3t", "connect jdbc:postgresql://shop:s3cr3t@db.internal.example.com:5432/orders failed"),
    "jdbc query": ("pa55w0rd", "jdbc:mysql://db/orders?user=shop&password=pa55w0rd&useSSL=true"),
    "redis": ("hunter2", "redis://:hunter2@cache:6379/0"),
    "odbc": ("myP@ss", "Server=db;User Id=sa;Password=myP@ss;Database=x"),
    "password": ("hunter2", "login failed for shop password=hunter2 from 10.0.0.3"),
    "password json": ("hunter2", '{"user":"shop","password":"hunter2"}'),
    "password yaml": ("correct horse", 'db:\n  password: "correct horse"\n'),
    "pem": ("MIIEowIBAAKCAQEAuQx7", f"tls key:\n{PEM}\ndone"),
    "pem without end": ("MIIEowIBAAKCAQEAuQx7", "tls key:\n" + PEM[:900]),
    "pem escaped": ("MIIEowIBAAKCAQEAuQx7", json.dumps({"k": PEM})),
    "slack": (
        "xoxb-893582989554-899326518131-JRHeVv1o9Cf99fwDpuortR2D",
        "token xoxb-893582989554-899326518131-JRHeVv1o9Cf99fwDpuortR2D",
    ),
    "slack hook": (
        "T1U6GK76G/B1YFY0ZJ9/NdQoKsZuvI1IDRace5wBljhI",
        "POST https://hooks.slack.com/services/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 200",
    ),
    "stripe": ("sk_live_dhhfUUyfrAace5dBAZ10JrAD", "stripe key sk_live_dhhfUUyfrAace5dBAZ10JrAD used"),
    "cookie": ("sid=8f14e45fceea167a", "Cookie: sid=8f14e45fceea167a; theme=dark"),
    "azure": (
        "6jqh42QQjWWBwoPGGR/Jr0PZjhBMZVbHm/gkhEfHvOj8aV6+oI8ed6ZAAwB5a6993WqyQDiuJJB0QpseJwqYxw==",
        "AccountName=x;AccountKey=6jqh42QQjWWBwoPGGR/Jr0PZjhBMZVbHm/gkhEfHvOj8aV6+oI8ed6ZAAwB5a6993WqyQDiuJJB0QpseJwqYxw==;E=1",
    ),
    "anthropic": (
        "sk-ant-api03-jSq6OMjv1syXaEUE0bvOckLe_GtCKy8lvZdko3eOJgV8TH",
        "x-api-key: sk-ant-api03-jSq6OMjv1syXaEUE0bvOckLe_GtCKy8lvZdko3eOJgV8TH",
    ),
    "url token": (
        "gho_psT9pqNFsehnc4se0ZzzR0HBxapxZD35hNHi",
        "git clone https://gho_psT9pqNFsehnc4se0ZzzR0HBxapxZD35hNHi@github.com/a/b",
    ),
}


@pytest.mark.parametrize("name", LEAKS)
@pytest.mark.parametrize("place", ["text", "value", "key", "list", "nested json"])
def test_a_credential_is_destroyed_wherever_it_stands(
    run: Run, redactor: Redactor, scope: Scope, name: str, place: str
) -> None:
    secret, line = LEAKS[name]
    value = {
        "text": line,
        "value": {"log": {"message": line}},
        "key": {line: 1},
        "list": ["ok", line],
        "nested json": {"m": json.dumps({"line": line})},
    }[place]
    done = run(redactor.redact(value, profile="default", scope=scope))
    assert secret not in json.dumps(done.value)
    assert json.dumps(secret)[1:-1] not in json.dumps(done.value)
    assert done.counts["SECRET"] >= 1


@pytest.mark.parametrize(
    ("value", "gone", "entity"),
    [
        ({"password": "letmein"}, "letmein", "SECRET"),
        ({"db": {"credentials": {"u": "x1y2", "p": "z3"}}}, "x1y2", "SECRET"),
        ({"Authorization": ["Basic YWJjOmQ=", "q"]}, "YWJjOmQ", "SECRET"),
        ({"headers": [{"name": "Set-Cookie", "value": "a=b"}]}, "a=b", "SECRET"),
        ({"env": [{"name": "DB_PASSWORD", "value": "tiger"}]}, "tiger", "SECRET"),
        ({"kind": "Secret", "data": {"tls": "Zm9vYmFyYmF6"}}, "Zm9vYmFyYmF6", "SECRET"),
        ({"out": '{"apiVersion":"v1","data":{"tls":"Zm9vYmFyYmF6"},"kind":"Secret"}'}, "Zm9vYmFyYmF6", "SECRET"),
        ({"pin_code": 4711}, "4711", "SECRET"),
        ({"user": {"name": "Alice Liddell"}}, "Liddell", "PERSON"),
        ({"user.name": "Alice Liddell"}, "Liddell", "PERSON"),
        ({"customerName": "Alice Liddell"}, "Liddell", "PERSON"),
        ({"ssn": 123456789}, "123456789", "SSN"),
        ({"social_security_number": "078 05 1120"}, "1120", "SSN"),
        ({"msisdn": "4915123456789"}, "4915123456789", "PHONE"),
        ({"card": 4111111111111111}, "4111111111111111", "CARD"),
        ({"p": {"dob": "1984-03-02"}}, "03-02", "DOB"),
        ({"a": b"mail bob@example.com"}, "bob@example.com", "EMAIL"),
        ({"mail bob@example.com": 1}, "bob@example.com", "EMAIL"),
        ({"payload": '{"user":{"name":"Alice Liddell"},"ssn":123456789}'}, "Liddell", "PERSON"),
        ({"payload": '{"user":{"name":"Alice Liddell"},"ssn":123456789}'}, "123456789", "SSN"),
        ({"payload": '{"a":[{"name":"K","value":"x"}],"password":"tiger","password":"lion"}'}, "tiger", "SECRET"),
    ],
)
def test_keys_numbers_bytes_and_nested_json_are_all_read(  # noqa: PLR0917 - fixtures and a table row
    run: Run, redactor: Redactor, scope: Scope, value: object, gone: str, entity: str
) -> None:
    done = run(redactor.redact(value, profile="default", scope=scope))
    assert gone not in json.dumps(done.value)
    assert entity in done.counts


def test_json_in_a_string_stays_json(run: Run, redactor: Redactor, scope: Scope) -> None:
    text = '{"ssn": 123456789, "card":4111111111111111, "n": [1, 2], "to": "bob@example.com"}'
    done = run(redactor.redact({"body": text}, profile="default", scope=scope))
    assert json.loads(done.value["body"])["n"] == [1, 2]


@pytest.mark.parametrize(
    "value",
    [
        {"p1": "4111", "p2": "1111", "p3": "1111", "p4": "1111"},
        ["4111", "1111", "1111", "1111"],
        {"local": "alice", "at": "@example.com"},
        ["ghp_XIxB7KMNdAr3zqWt", "QqhE94qglHqOzn1D1stg"],
    ],
)
def test_a_value_cut_over_siblings_is_found_in_all_its_parts(
    run: Run, redactor: Redactor, scope: Scope, value: object
) -> None:
    done = run(redactor.redact(value, profile="default", scope=scope))
    parts = value.values() if isinstance(value, dict) else value
    kept = json.dumps(done.value)
    assert not [part for part in parts if json.dumps(part) in kept]


SIGNAL = {
    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    "span_id": "00f067aa0ba902b7",
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "request_id": "0f8fad5b-d9cb-469f-a165-70867728950e",
    "image": "registry.example.com/shop/checkout@sha256:9b2cf5a1c8f3b0d4e6a7980123456789abcdef0123456789abcdef0123456789",
    "git": "9b2cf5a1c8f3b0d4e6a7980123456789abcdef01",
    "at": "2026-01-01T00:00:00.123456Z",
    "epoch_ns": 1767225600000000000,
    "epoch_ms": 1767225600000,
    "log_time": "[Sun Dec 04 04:47:44 2005] 12:34:56,789",
    "version": "v2.14.1-rc.3+build.7",
    "agent": "Mozilla/5.0 Chrome/126.0.0.0 Safari/537.36",
    "pod": "checkout-7d9f8b6c5-x2x7k",
    "node": "ip-10-0-3-7.eu-west-1.compute.internal",
    "private": "10.1.2.3 192.168.0.7 127.0.0.1 fe80::1",
    "duration": "1m32.045s",
    "class": "com.example.shop.Checkout$Handler@1a2b3c4d",
    "block": "blk_-6952295868487656571",
    "url": "https://shop.example.com/api/v1/orders/1234567890?page_token=CAUQAA&limit=10",
    "arn": "arn:aws:iam::123456789012:role/checkout",
    "max_tokens": 4096,
    "tokens_used": 123456789,
    "secretName": "checkout-db",
    "password_policy": "strict",
    "selector": "app=checkout,tier in (web, api)",
    "user": "root",
    "username": "billing_writer",
    "error_code": "ERR-2024-00017",
    "cache_key": "orders:v2:8f14e45fceea167a5a36dedd4bea2543",
    "object_key": "logs/2026/01/01/checkout-0001.gz",
    "idempotency_key": "0f8fad5b-d9cb-469f-a165-70867728950e",
    "next_page_token": "2",
    "status_code": 503,
}


def test_what_debugging_needs_is_kept_byte_for_byte(run: Run, redactor: Redactor, scope: Scope) -> None:
    done = run(redactor.redact(SIGNAL, profile="default", scope=scope))
    assert done.value == SIGNAL
    assert done.value is SIGNAL
    line = " ".join(f"{key}={value}" for key, value in SIGNAL.items())
    assert run(redactor.redact(line, profile="default", scope=scope)).value == line


def test_the_callers_value_is_never_changed(run: Run, redactor: Redactor, scope: Scope) -> None:
    value = {"a": ["bob@example.com", {"password": "x1"}]}
    before = copy.deepcopy(value)
    run(redactor.redact(value, profile="default", scope=scope))
    assert value == before


def test_findings_name_path_rule_and_token_but_never_the_value(run: Run, redactor: Redactor, scope: Scope) -> None:
    done = run(redactor.redact({"log": ["x", "by bob@example.com"]}, profile="default", scope=scope))
    (finding,) = done.findings
    assert (finding.entity, finding.path, finding.start, finding.end, finding.rule) == (
        "EMAIL",
        "$.log[1]",
        3,
        18,
        "email",
    )
    assert finding.token in done.value["log"][1]
    assert "bob" not in repr(done.findings)


def test_what_has_no_readable_form_is_withheld(run: Run, redactor: Redactor, scope: Scope) -> None:
    deep: object = "bob@example.com"
    for _ in range(80):
        deep = [deep]
    value = {"when": dt.date(2026, 1, 1), "raw": b"\xff\xfe\x00\x80", "deep": deep, "fine": 1}
    done = run(redactor.redact(value, profile="default", scope=scope))
    assert done.withheld == 3
    assert done.value["when"] == "[UNSCANNED:type]"
    assert done.value["raw"] == "[UNSCANNED:binary]"
    assert "[UNSCANNED:depth]" in json.dumps(done.value)
    assert done.value["fine"] == 1


def test_a_profile_that_allows_nothing_withheld_refuses(run: Run, redactor: Redactor, scope: Scope) -> None:
    with pytest.raises(RedactionUnavailable) as refusal:
        run(redactor.redact({"raw": b"\xff\xfe"}, profile="strict", scope=scope))
    assert refusal.value.error_code == "redaction.unscanned"


def test_an_unknown_profile_refuses(run: Run, redactor: Redactor, scope: Scope) -> None:
    with pytest.raises(RedactionUnavailable):
        run(redactor.redact("x", profile="nobody", scope=scope))


def test_profiles_keep_parts_and_never_weaken_secrets(run: Run, redactor: Redactor, scope: Scope) -> None:
    kept = run(redactor.redact("bob@Example.com paid with card 4111111111111111", profile="domains", scope=scope)).value
    assert re.fullmatch(r"EMAIL_\w{12}@example\.com paid with card CARD_\w{12}_1111", kept)
    text = "8.8.8.8 password=hunter2 call +49 151 23456789"
    opened = run(redactor.redact(text, profile="open", scope=scope)).value
    assert opened.startswith("8.8.8.8 password=[SECRET:password:")
    assert opened.endswith("]")
    assert "[SECRET:phone:" in opened, "an unknown operator is the strictest one"


def test_public_addresses_keep_their_network_and_private_ones_stay(run: Run, redactor: Redactor, scope: Scope) -> None:
    done = run(redactor.redact("8.8.8.8 8.8.8.9 8.8.4.4 10.0.0.1", profile="default", scope=scope)).value.split()
    octets = [token.split("_")[1:5] for token in done[:3]]
    assert octets[0][:3] == octets[1][:3]
    assert octets[0][:2] == octets[2][:2]
    assert octets[0] != octets[1]
    assert done[3] == "10.0.0.1"


def test_equal_values_get_equal_tokens_in_a_session_and_others_outside(
    run: Run, redactor: Redactor, scope: Scope
) -> None:
    one = run(
        redactor.redact(["bob@Example.COM", "+49 151 23456789", "password=abc123"], profile="default", scope=scope)
    ).value
    two = run(
        redactor.redact(["bob@example.com", "+49-151-23456789", "password=abc123"], profile="default", scope=scope)
    ).value
    other = run(redactor.redact(["bob@example.com"], profile="default", scope=Scope("default", "ses_b", "eu"))).value
    assert one == two
    assert one[0] != other[0]


@pytest.mark.parametrize("said", ["x@y.ex?mple", "x@y.example", "a x@y.example b", "a@y.example, b@y.example"])
def test_what_stands_under_a_sensitive_key_is_replaced_whole_the_first_time(
    run: Run, redactor: Redactor, scope: Scope, said: str
) -> None:
    once = run(redactor.redact({"email": said}, profile="standard", scope=scope)).value
    assert re.fullmatch("EMAIL_[0-9A-Z]{12}", once["email"])
    assert run(redactor.redact(once, profile="standard", scope=scope)).value == once


def test_two_keys_that_become_one_token_both_stay(run: Run, redactor: Redactor, scope: Scope) -> None:
    done = run(redactor.redact({"bob@Example.com": 1, "bob@example.com": 2}, profile="default", scope=scope))
    assert sorted(done.value.values()) == [1, 2]


def test_a_large_value_is_redacted_like_its_parts(run: Run, redactor: Redactor, scope: Scope) -> None:
    lines = [f"user bob{number}@example.com paid, password=hunter{number} {'x ' * 60}" for number in range(1500)]
    whole = run(redactor.redact({"lines": lines}, profile="default", scope=scope))
    assert sum(map(len, lines)) > LARGE
    assert whole.counts == {"EMAIL": 1500, "SECRET": 1500}
    parts = run(redactor.redact({"lines": lines[:3]}, profile="default", scope=scope))
    assert whole.value["lines"][:3] == parts.value["lines"]


class Hurried(SeededClock):
    """Every look at the clock takes ten seconds."""

    def monotonic(self) -> float:
        self.advance(10)
        return super().monotonic()


def test_what_the_deadline_leaves_unread_is_withheld(run: Run, scope: Scope) -> None:
    redactor = Redactor(vault=Vault(MemoryRows(), {"eu": b"e" * 32}), profiles={}, clock=Hurried())
    done = run(redactor.redact({"a": "bob@example.com", "b": "plain"}, profile="standard", scope=scope))
    assert done.value == {"a": "[UNSCANNED:deadline]", "b": "plain"}
