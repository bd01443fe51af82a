"""Other spellings of the same thing are found, and mapped back to exactly what they stand for."""

import base64
import gzip
import json
import re
import urllib.parse
import zlib

import pytest

from broker.redaction import redact_text, views

MAIL = "alice@example.com"
SECRET = "ghp_XIxB7KMNdAr3zqWtQqhE94qglHqOzn1D1stg"


def B64(raw: bytes) -> str:  # noqa: N802 - reads like a constant in the table
    return base64.b64encode(raw).decode()


ENCODINGS = {
    "percent": lambda s: urllib.parse.quote(s, safe=""),
    "percent all": lambda s: "".join(f"%{b:02X}" for b in s.encode()),
    "json unicode": lambda s: "".join(f"\\u{ord(c):04x}" for c in s),
    "c hex": lambda s: "".join(f"\\x{ord(c):02x}" for c in s),
    "html": lambda s: "".join(f"&#{ord(c)};" for c in s),
    "base64": lambda s: B64(f"to {s} now".encode()),
    "base64url": lambda s: base64.urlsafe_b64encode(f"to {s} now?>~".encode()).decode(),
    "hex": lambda s: f"to {s}".encode().hex(),
    "gzip": lambda s: B64(gzip.compress(f"to {s}".encode())),
    "zlib hex": lambda s: zlib.compress(f"to {s}".encode()).hex(),
    "base64 twice": lambda s: B64(B64(f"to {s} now".encode()).encode()),
    "percent of json": lambda s: urllib.parse.quote(json.dumps({"m": s})),
    "base64 of json": lambda s: B64(json.dumps({"user": {"mail": s}}).encode()),
    "fullwidth": lambda s: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in s),
    "zero width": "\u200b".join,
    "soft hyphen": lambda s: s.replace("a", "a\u00ad"),
    "utf-16": lambda s: B64(f"to {s} now".encode("utf-16-le")),
}


@pytest.mark.parametrize("value", [MAIL, SECRET, "4111 1111 1111 1111"])
@pytest.mark.parametrize("name", ENCODINGS)
def test_an_encoded_value_is_found_and_its_surroundings_stay(name: str, value: str) -> None:
    form = ENCODINGS[name](value)
    text, findings = redact_text(f"before {form} behind")
    assert findings, text
    assert form not in text
    assert text.startswith("before ")
    assert text.endswith(" behind")


def test_a_character_view_maps_back_to_exactly_its_characters() -> None:
    text, _ = redact_text("x=1&u=alice%40example.com&y=2")
    assert re.fullmatch(r"x=1&u=EMAIL_\w{12}&y=2", text)
    plain, _ = redact_text("alice@example.com", key=b"k" * 32)
    escaped, _ = redact_text("alice%40example.com", key=b"k" * 32)
    assert plain == escaped, "one person, one pseudonym, however it was spelled"


def test_an_escape_before_an_address_does_not_become_part_of_it() -> None:
    plain, _ = redact_text("bob@x.com", key=b"k" * 32)
    assert redact_text(r"hi\nbob@x.com", key=b"k" * 32)[0] == r"hi\n" + plain


def test_homoglyphs_do_not_hide_an_address() -> None:
    assert "example" not in redact_text("аlice@exаmple.com")[0]  # noqa: RUF001 - Cyrillic letters are the point


def test_what_decodes_to_nothing_of_interest_stays() -> None:
    text = "id " + base64.b64encode(b"just some words, nothing more").decode() + " " + "deadbeef" * 4
    assert redact_text(text) == (text, [])


def test_a_segment_that_grows_too_much_or_nests_too_deep_is_withheld() -> None:
    bomb = B64(zlib.compress(b"a" * 4_000_000))
    assert redact_text(f"x {bomb} y")[0] == "x [UNSCANNED:ratio] y"
    nested = b"mail alice@example.com and some more text to be long enough"
    for _ in range(6):
        nested = base64.b64encode(nested)
    assert redact_text(nested.decode())[0] == "[UNSCANNED:depth]"


def test_the_budget_of_decoded_output_is_shared_by_a_whole_call() -> None:
    budget = views.Budget(40)
    segment = base64.b64encode(b"thirty characters of plain text").decode()
    found = list(views.encoded(f"{segment} {segment}", budget))
    assert isinstance(found[0], views.Encoded)
    assert getattr(found[1], "kind", "") == "budget"
