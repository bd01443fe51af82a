"""Strings: problem."""


class Problem:
    """Of refusals."""

    title = "This did not work"
    refused = "Refused"
    not_found = "Not found"
    again = "Sign in again to go on"
    again_text = "This needs your presence: sign in again, and you come back to the same page."
    unavailable = "Not possible right now"
    why = "Why"
    what_next = "What to do next"
    code = "Code"
    decision = "Decision"
    record = "Record"
    back = "Back to the console"
    retry = "Try again in {seconds} s."
    csrf = "the form does not belong to this sign-in, or another site sent it"
    csrf_remedy = "open the page again and send the form from there"
    form = "the form holds a field twice, or is no form"
    not_configured = "the console has no identity provider"
    not_configured_remedy = "name one of [[identity.issuers]] in [console] issuer and start the gate again"
