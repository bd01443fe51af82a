"""Text of agents and outsiders: every character is seen, none is lost, nothing becomes markup."""

import json
import re
from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.web.console.marks import plain, untrusted
from tests.parts import corpus

TAG = re.compile(r'<span class="mark mark-(?:hidden|alike)" title="U\+[0-9A-F]{4,6} [^"<>]*">[^<>]*</span>')
HIDDEN = {
    "right-to-left override": "\u202e",
    "zero width space": "\u200b",
    "zero width joiner": "\u200d",
    "byte order mark": "\ufeff",
    "soft hyphen": "\u00ad",
    "no-break space": "\u00a0",
    "ideographic space": "\u3000",
    "line separator": "\u2028",
    "escape": "\x1b",
    "nul": "\x00",
    "carriage return": "\r",
    "c1 control": "\x9b",
    "tag letter": "\U000e0041",
    "variation selector": "\ufe0f",
    "variation selector supplement": "\U000e0100",
    "hangul filler": "\u3164",
    "braille blank": "\u2800",
    "combining grapheme joiner": "\u034f",
    "isolate": "\u2066",
    "unassigned": "\u0378",
    "private use": "\ue000",
    "lone surrogate": "\ud800",
}


@pytest.mark.parametrize("name", HIDDEN)
def test_what_is_not_seen_is_shown_by_its_number(name: str) -> None:
    shown = untrusted(f"a{HIDDEN[name]}b")
    assert HIDDEN[name] not in shown
    assert f">U+{ord(HIDDEN[name]):04X}</span>" in shown
    assert plain(f"a{HIDDEN[name]}b") == f"a[U+{ord(HIDDEN[name]):04X}]b"


@pytest.mark.parametrize(
    ("text", "alike"),
    [
        ("p\u0430yments", "\u0430"),  # Cyrillic a
        ("check\u03bfut", "\u03bf"),  # Greek omicron
        ("\uff43heckout", "\uff43"),  # full width c
        ("\U0001d41ahost", "\U0001d41a"),  # mathematical bold a
        ("a\u2215b", "\u2215"),  # division slash
        ("http\ua789//x", "\ua789"),  # modifier colon
        ("\u0261it", "\u0261"),  # script g
        ("\u212aey", "\u212a"),  # Kelvin sign
    ],
)
def test_a_look_alike_keeps_its_picture_and_gets_its_number(text: str, alike: str) -> None:
    assert f'{alike}<span class="mark mark-alike"' in untrusted(text)


@pytest.mark.parametrize(
    "text", ["Grüße aus Köln", "заказ не оплачен", "支払いが失敗しました", "الطلب فشل", "naïve café", "a\nb", "→ ok ✓"]
)
def test_honest_text_of_any_language_reads_as_it_is(text: str) -> None:
    assert untrusted(text) == text


def test_a_pile_of_combining_marks_is_taken_apart() -> None:
    shown = untrusted("e" + "\u0301" * 40)
    assert shown.count("U+0301 ") == 38
    assert "e\u0301\u0301<" in shown


def test_markup_stays_text() -> None:
    assert untrusted("<img src=x onerror=\"a\"> hx-get='/x' [l](javascript:x)") == (
        "&lt;img src=x onerror=&#34;a&#34;&gt; hx-get=&#39;/x&#39; [l](javascript:x)"
    )


@given(st.text(alphabet=st.characters(codec=None, exclude_categories=())))
def test_no_character_is_lost_and_no_markup_but_the_marks_appears(text: str) -> None:
    shown = str(untrusted(text))
    assert "<" not in TAG.sub("", shown)

    def back(found: re.Match[str]) -> str:
        whole = found.group(0)
        number = chr(int(whole.partition("U+")[2].partition(" ")[0], 16))
        return number if "mark-hidden" in whole and number != "\t" else ""

    assert unescape_all(TAG.sub(back, shown)) == text


def unescape_all(text: str) -> str:
    return re.sub(r"&(?:amp|lt|gt|#34|#39);", lambda one: unescape(one.group(0)), text)


def test_every_naughty_string_of_the_corpus_is_shown_whole() -> None:
    lines: list[str] = json.loads((corpus("blns") / "blns.json").read_text("utf-8"))
    assert len(lines) > 300
    for line in lines:
        assert "<" not in TAG.sub("", str(untrusted(line)))
