"""The two pages a person sees: sign in, and let a device in. Plain HTML, no script; every value is escaped."""

from collections.abc import Iterable
from html import escape

from starlette.responses import HTMLResponse

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<body><main><h1>{title}</h1><p><strong>Development identity provider.</strong> It runs on this machine only.</p>
{problem}{body}</main></body></html>"""

_FORM = """<form method="post" action="{action}">{fields}
<p><label>Persona <select name="persona">{people}</select></label></p>
<p><label>Code that <code>wicketgate serve --dev</code> printed
<input name="code" type="password" autocomplete="off" required autofocus></label></p>
<p><button name="verdict" value="allow">{allow}</button> <button name="verdict" value="deny" formnovalidate>Deny</button></p>
</form>"""

_POLICY = (
    "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; "
    "form-action 'self' http://localhost:* http://127.0.0.1:*"
)


def page(title: str, body: str, *, problem: str = "", status: int = 200) -> HTMLResponse:
    """One page; ``body`` is markup, ``title`` and ``problem`` are text."""
    shown = f'<p role="alert">{escape(problem)}</p>' if problem else ""
    headers = {
        "Content-Security-Policy": _POLICY,
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    return HTMLResponse(_PAGE.format(title=escape(title), problem=shown, body=body), status, headers)


def sign_in(action: str, people: Iterable[str], client: str, *, problem: str = "") -> HTMLResponse:
    """Sign in for ``client``; posts persona, code and verdict to ``action``."""
    form = _form(action, "", people, "Sign in")
    body = f"<p>The client <code>{escape(client)}</code> asks to sign you in.</p>{form}"
    return page("Sign in", body, problem=problem, status=403 if problem else 200)


def device(action: str, people: Iterable[str], user_code: str, *, problem: str = "") -> HTMLResponse:
    """Let the device in that shows ``user_code``."""
    field = f'<p><label>Code on the device <input name="user_code" value="{escape(user_code)}" required></label></p>'
    body = f"<p>Go on only if the device shows this code.</p>{_form(action, field, people, 'Let it in')}"
    return page("Let a device in", body, problem=problem, status=403 if problem else 200)


def _form(action: str, fields: str, people: Iterable[str], allow: str) -> str:
    options = "".join(f"<option>{escape(name)}</option>" for name in people)
    return _FORM.format(action=escape(action), fields=fields, people=options, allow=escape(allow))
