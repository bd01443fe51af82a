"""Templates to answers: the Jinja environment, its filters, and the headers of every console answer."""

import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup
from starlette.responses import HTMLResponse

from broker.web.console import marks, words

TEMPLATES = Path(__file__).with_name("templates")
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
_PERMISSIONS = (
    "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), microphone=(), midi=(), payment=(), "
    "usb=(), publickey-credentials-create=(self), publickey-credentials-get=(self)"
)


_PLAIN = Markup(
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{0}</title></head>'
    "<body><main><h1>{0}</h1><p>{1}</p><p>{2}</p></main></body></html>"
)

_WHEN = Markup('<time datetime="%s">%s <span class="relative">(%s)</span></time>')


class Renderer:
    """One environment a process; templates are compiled once."""

    def __init__(self, *, static: Callable[[str], str], secure: bool) -> None:
        """``static`` gives a file's address; ``secure``: the gate's public address is https."""
        self._secure = secure
        self._environment = Environment(
            loader=FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.filters.update(untrusted=marks.untrusted, plain=marks.plain, when=when, grouped=grouped)
        self._environment.globals.update(
            words=words,
            static=static,
            hx=_hx,
            form_fields=_form_fields,
            span=duration,
            key=lambda: secrets.token_hex(16),
        )

    def page(self, template: str, context: Mapping[str, Any], status: int = 200) -> HTMLResponse:
        """The answer made of ``template``; each carries a nonce of its own."""
        nonce = secrets.token_urlsafe(18)
        body = self._environment.get_template(template).render({**context, "nonce": nonce})
        return HTMLResponse(body, status, self.headers(nonce))

    def plain(self, heading: str, detail: str, remedy: str, status: int) -> HTMLResponse:
        """A page of words alone: no template, no stylesheet, no script."""
        return HTMLResponse(_PLAIN.format(heading, detail, remedy), status, self.headers())

    def fragment(self, template: str, context: Mapping[str, Any]) -> str:
        """Markup without a page around it."""
        return self._environment.get_template(template).render(context)

    def headers(self, nonce: str = "") -> dict[str, str]:
        """What every answer of the console says to the browser; scripts and connections only with a nonce."""
        scripts = f"script-src 'nonce-{nonce}'; connect-src 'self'; trusted-types htmx; " if nonce else ""
        headers = {
            "Content-Security-Policy": (
                f"default-src 'none'; {scripts}style-src 'self'; img-src 'self'; form-action 'self'; "
                "frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'"
            ),
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Permissions-Policy": _PERMISSIONS,
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Cache-Control": "no-store",
        }
        return {**headers, "Strict-Transport-Security": "max-age=31536000"} if self._secure else headers


@pass_context
def when(context: Context, at: int | None) -> Markup:
    """Seconds since the epoch as absolute UTC and how long ago; 0 or none is never."""
    if not at:
        return Markup("<span>{}</span>").format(words.common.never)
    day, _, time = datetime.fromtimestamp(at, UTC).isoformat(" ", "seconds").removesuffix("+00:00").partition(" ")
    return _WHEN % (f"{day}T{time}Z", f"{day} {time} UTC", relative(at, int(context["now"])))


def clock_text(at: int) -> str:
    """Seconds since the epoch as absolute UTC to the minute, for places that hold no markup."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def relative(at: int, now: int) -> str:
    """How long ago, or until."""
    if at == now:
        return words.common.now
    return (words.common.ago if at < now else words.common.ahead).format(duration(abs(now - at)))


def duration(seconds: float) -> str:
    """Seconds as people say them, in at most two units."""
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min" + (f" {whole % _MINUTE} s" if whole < 10 * _MINUTE and whole % _MINUTE else "")
    if whole < _DAY:
        return f"{whole // _HOUR} h" + (f" {whole % _HOUR // _MINUTE} min" if whole % _HOUR // _MINUTE else "")
    return f"{whole // _DAY} d" + (f" {whole % _DAY // _HOUR} h" if whole % _DAY // _HOUR else "")


def grouped(number: int) -> str:
    """A whole number with thin spaces between thousands."""
    return f"{number:,}".replace(",", "\u202f")


@pass_context
def _hx(context: Context) -> Markup:
    """What an element with htmx attributes must carry to be believed."""
    return Markup('hx-nonce="{}"').format(context["nonce"])


@pass_context
def _form_fields(context: Context) -> Markup:
    """Hidden fields of a form that does something."""
    return Markup('<input type="hidden" name="csrf" value="{}"><input type="hidden" name="key" value="{}">').format(
        context["csrf"], secrets.token_hex(16)
    )
