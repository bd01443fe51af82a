"""Laws that hold for every input: idempotence, order, cutting, round trip, nothing in clear."""

import asyncio
import itertools
import json
import random
import string

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.clock import SeededClock
from broker.redaction import MemoryRows, Redactor, Scope, Vault
from broker.redaction.entities import Span, Tier
from broker.redaction.redactor import Pass
from broker.redaction.resolution import resolve
from broker.redaction.vault import OpenSession

SCOPE = Scope("default", "ses_a", "eu")
PLANTED = [
    "alice@example.com", "+49 151 23456789", "4111 1111 1111 1111", "GB82WEST12345698765432", "078-05-1120", "password=hunter2x", "8.8.8.8",
    "ghp_XIxB7KMNdAr3zqWtQqhE94qglHqOzn1D1stg", "Authorization: Bearer mF_9.B5f-4.1JqM", "postgres://u:s3cr3t@db.example.com/x", "u=alice%40example.com",
    "YWxpY2VAZXhhbXBsZS5jb20gaXMgaGVyZQ==", "EMAIL_7K3Q9M2XTB4C", "[SECRET:password:deadbeef]", "Cookie: sid=8f14e45f; a=b", '{"user":{"name":"Alice L"},"ssn":123456789}',
    "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0\n-----END PRIVATE KEY-----", "\u0430lice@ex\u0430mple.com", "\\u0061lice@example.com", "2001:4860:4860::8888",
]  # fmt: skip
words = st.one_of(
    st.sampled_from(PLANTED),
    st.text(string.ascii_letters + string.digits + " =:,;.@-_\n\"'/%\\{}[]", max_size=24),
    st.sampled_from(["user", "call", "token:", "é", "日本"]),
)
texts = st.lists(words, max_size=12).map(" ".join)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(10**18), 10**18), st.floats(allow_nan=False), texts),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.one_of(words, st.sampled_from(["password", "user", "name", "ssn", "value"])), inner, max_size=4
        ),
    ),
    max_leaves=12,
)
common = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def redactor() -> Redactor:
    return Redactor(vault=Vault(MemoryRows(), {"eu": b"e" * 32}), profiles={}, clock=SeededClock())


@common
@given(values)
def test_redacting_twice_is_redacting_once(value: object) -> None:
    async def law() -> None:
        subject = redactor()
        once = (await subject.redact(value, profile="standard", scope=SCOPE)).value
        assert (await subject.redact(once, profile="standard", scope=SCOPE)).value == once

    asyncio.run(law())


@common
@given(st.lists(texts, min_size=1, max_size=5), st.randoms())
def test_the_order_of_texts_makes_no_difference(items: list[str], random: random.Random) -> None:
    async def law() -> None:
        subject, other = (
            Pass(OpenSession(SCOPE, b"d" * 32), redactor().profile("standard")),
            Pass(OpenSession(SCOPE, b"d" * 32), redactor().profile("standard")),
        )
        shuffled = items[:]
        random.shuffle(shuffled)
        assert sorted(subject.text(item) for item in items) == sorted(other.text(item) for item in shuffled)

    asyncio.run(law())


spans = st.builds(
    lambda start, size, entity, rule, tier: Span(entity, start, start + size, rule, tier, 0.5),
    st.integers(0, 30), st.integers(1, 12), st.sampled_from(["EMAIL", "SECRET", "CARD"]), st.sampled_from("ab"), st.sampled_from(list(Tier)),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(spans, max_size=8), st.randoms())
def test_resolution_does_not_depend_on_the_order_of_findings(found: list[Span], random: random.Random) -> None:
    shuffled = found[:]
    random.shuffle(shuffled)
    result = resolve(found)
    assert result == resolve(shuffled)
    assert all(one.end <= two.start for one, two in itertools.pairwise(result))
    covered = {at for span in result for at in range(span.start, span.end)}
    needed = {at for span in found if span.entity != "EMAIL" for at in range(span.start, span.end)}
    assert needed <= covered, "nothing that was found is left in clear"


async def _streamed(text: str, cuts: list[int]) -> str:
    stream = redactor_of(text).stream(profile="standard", scope=SCOPE)
    pieces = []
    for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        pieces.append(await stream.feed(text[start:end]))
    return "".join([*pieces, await stream.finish()])


def redactor_of(_text: str) -> Redactor:
    rows = MemoryRows()
    vault = Vault(rows, {"eu": b"e" * 32})
    vault._open["default", "ses_a"] = OpenSession(SCOPE, b"d" * 32)
    return Redactor(vault=vault, profiles={}, clock=SeededClock())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(texts, min_size=4, max_size=16).map("\n".join), st.data())
def test_a_stream_says_what_the_whole_says_wherever_it_was_cut(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12)))
    whole = Pass(OpenSession(SCOPE, b"d" * 32), redactor().profile("standard")).text(text)
    assert asyncio.run(_streamed(text, cuts)) == whole


@common
@given(
    st.lists(
        st.sampled_from(["alice@example.com", "8.8.8.8", "078-05-1120", "GB82WEST12345698765432", "Bob.X@Example.ORG"]),
        min_size=1,
        max_size=6,
    )
)
def test_what_is_restored_is_what_was_redacted(items: list[str]) -> None:
    async def law() -> None:
        subject = redactor()
        hidden = (await subject.redact({"v": items}, profile="standard", scope=SCOPE)).value
        assert not set(items) & set(hidden["v"])
        allow = {"$.v[*]": ("EMAIL", "IP", "SSN", "IBAN")}
        assert await subject.restore(hidden, allow=allow, scope=SCOPE) == {"v": items}

    asyncio.run(law())


CANARIES = [
    "alice@example.com",
    "hunter2x",
    "4111 1111 1111 1111",
    "ghp_XIxB7KMNdAr3zqWtQqhE94qglHqOzn1D1stg",
    "s3cr3t",
    "MIIEvQIBADANBgkqhkiG9w0",
]


@common
@given(values)
def test_no_planted_value_survives_in_value_or_findings(value: object) -> None:
    done = asyncio.run(redactor().redact(value, profile="standard", scope=SCOPE))
    left = json.dumps(done.value, ensure_ascii=False) + repr(done.findings)
    if "alice" in json.dumps(value):
        assert "alice@example.com" not in left
    assert CANARIES[3] not in left
    assert CANARIES[5] not in left
