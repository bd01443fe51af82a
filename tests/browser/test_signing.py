"""A browser with an authenticator of its own (Chromium's virtual one): enrolled, confirmed, and signing by keyboard."""

import contextlib
import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.chrome import Chrome, Visited, visit
from tests.sim.running_gate import RunningGate, process_toml, running_gate, supervised

RESTART = "local.process.restart"


@pytest.fixture(scope="module")
def signing_gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGate]:
    """A gate with a critical process: restarting it is tier 3."""
    with (
        supervised("ledger") as (supervisor, _),
        running_gate(
            tmp_path_factory.mktemp("signing"),
            process_toml(supervisor.server.url, "ledger") + 'labels = {tier = "critical"}\n',
        ) as started,
    ):
        yield started


@contextlib.contextmanager
def authenticator(window: Visited, **changes: Any) -> Iterator[Any]:
    """A virtual security key with a fingerprint in this window, over Chromium's own protocol."""
    devtools = window.context.new_cdp_session(window.page)
    devtools.send("WebAuthn.enable")
    options = {"protocol": "ctap2", "transport": "usb", "hasResidentKey": False, "hasUserVerification": True}
    options |= {"isUserVerified": True, "automaticPresenceSimulation": True, **changes}
    made = devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    yield lambda verb, **said: devtools.send(f"WebAuthn.{verb}", {"authenticatorId": made["authenticatorId"], **said})
    devtools.detach()


def proposed(gate: RunningGate) -> str:
    """Ask for a restart of the critical process; the approval's id."""
    with gate.client("oncall") as client:
        session = client.post(
            "/v1/sessions", json={"intent": [{"kind": "task", "text": "mend it"}]}, headers=key()
        ).json()["session"]
        asked = {
            "session": session,
            "action": RESTART,
            "resource": {"type": "process", "id": "ledger", "env": "prod"},
            "arguments": {},
            "reason": "it hangs",
        }
        answer = client.post("/v1/actions", json=asked, headers=key())
        assert answer.status_code == 202, answer.text
        return str(answer.json()["approval"]["id"])


def key() -> dict[str, str]:
    return {"Idempotency-Key": secrets.token_hex(8)}


def confirm(gate: RunningGate, chrome: Chrome) -> None:
    """The security engineer's key is confirmed by the deputy, in another window."""
    with chrome.window(gate, "deputy") as window:
        page = visit(window, "/console/keys")
        page.get_by_role("button", name="Confirm").first.click()
        page.get_by_text("Confirmed: it counts from now on").first.wait_for()


def test_a_person_enrols_signs_by_keyboard_and_another_decisions_signature_is_refused(
    chrome: Chrome, signing_gate: RunningGate
) -> None:
    gate = signing_gate
    with chrome.window(gate, "security") as window, authenticator(window) as tell:
        page = visit(window, "/console/keys")
        page.get_by_role("button", name="Register").focus()
        page.keyboard.press("Enter")
        page.get_by_text("waits for a second person").first.wait_for()
        assert len(tell("getCredentials")["credentials"]) == 1
        confirm(gate, chrome)
        visit(window, "/console/keys")
        first, second = proposed(gate), proposed(gate)
        page = visit(window, f"/console/inbox/{first}")
        other = json.loads(page.locator("form[data-webauthn]").get_attribute("data-webauthn") or "")
        # The page is made to ask for the signature of another decision: the gate refuses what it gets.
        page = visit(window, f"/console/inbox/{second}")
        form = page.locator("form[data-webauthn]")
        form.evaluate("(form, asked) => { form.dataset.webauthn = JSON.stringify(asked); }", other)
        page.locator("#approve-note").focus()
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.get_by_text("signature.other_decision").first.wait_for()
        window.look()
        # Signed by keyboard alone.
        page = visit(window, f"/console/inbox/{second}")
        page.keyboard.press("a")
        assert page.evaluate("document.activeElement.id") == "approve-note"
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Sign and approve"
        page.keyboard.press("Enter")
        page.get_by_role("status").filter(has_text="Your approval is on record.").first.wait_for()
        assert window.look() == []
        with gate.client("security") as client:
            told = client.get(f"/v1/approvals/{second}").json()
            assert told["state"] in {"approved", "executing", "done"}, told
            assert client.get(f"/v1/approvals/{first}").json()["state"] == "waiting"
        done = gate.command("audit", "verify", str(gate.data / "log"), "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "1 signed approvals hold" in done.stdout


def test_a_key_that_does_not_answer_sends_nothing_and_says_so(chrome: Chrome, signing_gate: RunningGate) -> None:
    with (
        chrome.window(signing_gate, "deputy") as window,
        authenticator(window, isUserVerified=False, automaticPresenceSimulation=True),
    ):
        page = visit(window, "/console/keys")
        before = list(window.requests)
        page.get_by_role("button", name="Register").click()
        page.get_by_text("The key did not answer").first.wait_for()
        assert [url for url in window.requests[len(before) :] if url.endswith("/console/keys")] == []


def test_without_scripts_the_page_says_what_is_missing(chrome: Chrome, signing_gate: RunningGate) -> None:
    with chrome.window(signing_gate, "deputy", scripts=False) as window:
        window.page.goto("/console/keys")
        assert "This needs a browser with scripts and WebAuthn" in window.page.locator("main").inner_text()


def test_the_command_line_says_where_to_sign(signing_gate: RunningGate) -> None:
    approval = proposed(signing_gate)
    done = signing_gate.command("approvals", "approve", approval, "--as", "security")
    assert done.returncode != 0
    assert f"/console/inbox/{approval}" in done.stderr
