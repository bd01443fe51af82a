"""What the browser is sent: pinned, small, without inline code; templates short; words in one place."""

import gzip
import hashlib
import json
import re
from pathlib import Path

import pytest

from broker.web.console import words
from broker.web.console.render import TEMPLATES
from broker.web.console.static import FOLDER
from tests.parts import ROOT

SCRIPT_BYTES_MAX = 25 * 1024
STYLE_BYTES_MAX = 8 * 1024
TEMPLATE_LINES_MAX = 200
PAGES = sorted(TEMPLATES.rglob("*.html"))
VENDORS = (FOLDER / "vendor", ROOT / "tests/browser/vendor")


@pytest.mark.parametrize("folder", VENDORS, ids=lambda one: one.parts[-2])
def test_vendored_files_are_those_of_the_manifest_and_have_their_licence(folder: Path) -> None:
    manifest = json.loads((folder / "MANIFEST.json").read_text())
    found = {
        path.name: {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "bytes": path.stat().st_size}
        for path in folder.iterdir()
        if path.name != "MANIFEST.json"
    }
    assert found == manifest["files"]
    assert all(one["version"] and one["licence"] and one["licence_file"] in found for one in manifest["packages"])


def test_all_scripts_together_are_at_most_25_kib_compressed() -> None:
    sizes = {path.name: len(gzip.compress(path.read_bytes(), 9)) for path in FOLDER.rglob("*.js")}
    assert {"htmx.min.js", "hx-sse.min.js", "hx-csp.min.js", "console.js"} <= set(sizes)
    assert sum(sizes.values()) <= SCRIPT_BYTES_MAX, sizes


def test_the_stylesheet_is_at_most_8_kib_compressed() -> None:
    assert sum(len(gzip.compress(path.read_bytes(), 9)) for path in FOLDER.glob("*.css")) <= STYLE_BYTES_MAX


def test_the_extensions_that_pages_let_in_are_those_that_are_shipped_by_the_names_they_give_themselves() -> None:
    base = (TEMPLATES / "base.html").read_text(encoding="utf-8")
    allowed = set(re.findall(r'"extensions": "([^"]+)"', base)[0].split(", "))
    own = {
        name
        for path in (FOLDER / "vendor").glob("hx-*.js")
        for name in re.findall(r'registerExtension\("([^"]+)"', path.read_text(encoding="utf-8"))
    }
    assert allowed == own


def test_nothing_moves_for_who_wants_less_motion() -> None:
    moving = re.compile(r"\b(?:transition|animation|scroll-behavior)\b")
    style = (FOLDER / "console.css").read_text(encoding="utf-8")
    asked_for = r"@media \(prefers-reduced-motion: no-preference\) \{(?:[^{}]*\{[^{}]*\})*\s*\}"
    assert moving.search(style), "something moves"
    assert not moving.search(re.sub(asked_for, "", style)), "and only where motion is welcome"
    assert not re.search(r"\.animate\(|behavior:|ViewTransition", (FOLDER / "console.js").read_text(encoding="utf-8"))
    assert "transitions" not in (TEMPLATES / "base.html").read_text(encoding="utf-8"), "htmx leaves them off"


def test_nothing_that_a_page_loads_is_elsewhere() -> None:
    for path in [*FOLDER.glob("*.*"), *PAGES]:
        text = path.read_text(encoding="utf-8")
        links = set(re.findall(r"""(?:https?:)?//[\w.-]+\.\w+""", text)) - {"http://www.w3.org"}
        assert links == set(), path


@pytest.mark.parametrize("path", PAGES, ids=lambda one: one.name)
def test_a_template_is_short_and_holds_no_code_and_no_style_of_its_own(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= TEMPLATE_LINES_MAX
    assert not re.search(r"\sstyle=|<style|\son[a-z]+=|javascript:|hx-on|\|\s*safe|autoescape", text)
    assert all("src=" in tag and "nonce=" in tag for tag in re.findall(r"<script[^>]*>", text))


@pytest.mark.parametrize("path", PAGES, ids=lambda one: one.name)
def test_elements_with_htmx_attributes_carry_the_nonce_and_forms_the_token(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for tag in re.findall(r"<[a-z][^<]*?\shx-[a-z]+(?:[:-][\w:-]+)?=[^<]*?>", text, re.DOTALL):
        assert "hx()" in tag, tag
    for form in re.findall(r"<form[^>]*method=\"post\".*?</form>", text, re.DOTALL):
        assert "form_fields()" in form, form


@pytest.mark.parametrize("path", PAGES, ids=lambda one: one.name)
def test_what_people_read_stands_in_words(path: Path) -> None:
    """Text between tags is punctuation at most, or a command in ``<code>``; everything else comes from ``words`` or the view model."""
    text = path.read_text(encoding="utf-8")
    bare = re.sub(
        r"<code[^>]*>.*?</code>|\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}|<!--.*?-->|<[^>]*>", " ", text, flags=re.DOTALL
    )
    found = [word for word in re.findall(r"[A-Za-z]{3,}", bare) if word not in {"doctype", "html"}]
    assert found == []


def test_every_word_that_a_template_names_exists() -> None:
    for path in PAGES:
        for page, name in re.findall(r"words\.(\w+)\.(\w+)", path.read_text(encoding="utf-8")):
            assert hasattr(getattr(words, page), name), f"{path.name}: words.{page}.{name}"


def test_the_browser_keeps_nothing_but_whether_keys_are_on() -> None:
    """Of our own script; the library's history, which would keep pages, is off, and the gate's cookies are for no script."""
    script = (FOLDER / "console.js").read_text(encoding="utf-8")
    assert set(re.findall(r"localStorage\.(\w+\([^),]*)", script)) == {'getItem("keys"', 'setItem("keys"'}
    assert not re.search(r"sessionStorage|indexedDB|caches\b|document\.cookie|serviceWorker", script)
    base = (TEMPLATES / "base.html").read_text(encoding="utf-8")
    assert '"history": false' in base


@pytest.mark.parametrize("path", [one for one in PAGES if one.parent == TEMPLATES], ids=lambda path: path.stem)
def test_every_page_has_the_button_to_sign_out(path: Path) -> None:
    if path.stem == "macros":
        return
    text = path.read_text(encoding="utf-8")
    if path.stem != "base":
        assert text.startswith('{% extends "base.html" %}')
        text = (TEMPLATES / "base.html").read_text(encoding="utf-8")
        replaced = set(re.findall(r"{% block (\w+)", path.read_text(encoding="utf-8")))
        assert replaced <= {"main", "banners"}, "what stands around the page is not the page's"
    shown = text.partition("{% if me %}")[2].partition("{% endif %}")[0]
    assert '<form method="post" action="/console/signout">{{ form_fields() }}<button>' in shown
