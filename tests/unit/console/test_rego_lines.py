"""Highlighting changes no character of a file, and what is in it stays text."""

import pytest

from broker.web.console.marks import untrusted
from broker.web.console.pages.rego_lines import lines_of
from tests.unit.policies.engines import content

TEXTS = [
    "",
    "\n",
    'package a\n\n# comment\nx := `raw\nstring` if input.y == "te\\"xt" # end\n',
    'x := "never closed\ny := 5.5e3\n',
    "p\u0430ckage a\u202e\x00\x1b[2J\r\n",
    "</pre><script>alert(1)</script>",
]


@pytest.mark.parametrize("text", [*TEXTS, *content().modules.values()])
@pytest.mark.parametrize("rego", [True, False])
def test_the_pieces_joined_are_the_text(text: str, rego: bool) -> None:
    lines = lines_of(text, rego=rego)
    joined = "\n".join(line.indent + "".join(piece for _, piece in line.pieces) for line in lines)
    assert {one for line in lines for one in line.indent} <= {"\t", " "}
    assert joined == text.removesuffix("\n") if len(text) > 1 else joined in ("", text)
    assert [line.number for line in lines] == list(range(1, len(lines) + 1))


def test_words_comments_texts_and_numbers_are_told_apart() -> None:
    (line,) = lines_of('allow if input.x == "if" # if 5', rego=True)
    assert line.pieces == (
        ("", "allow "), ("word", "if"), ("", " input.x == "), ("text", '"if"'), ("", " "), ("comment", "# if 5"),
    )  # fmt: skip
    (line,) = lines_of("x := 12", rego=True)
    assert ("number", "12") in line.pieces


def test_a_look_alike_among_latin_letters_is_shown_by_number() -> None:
    (line,) = lines_of("p\u0430ckage x", rego=True)  # a Cyrillic letter
    assert "U+0430" in "".join(untrusted(piece) for _, piece in line.pieces)
