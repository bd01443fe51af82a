"""Strings: security keys."""

from collections.abc import Mapping
from typing import ClassVar


class Keys:
    """Of the page `keys`."""

    title = "Security keys"
    text = (
        "With these people sign approvals that policy wants signed: a security key, or the fingerprint or PIN of this "
        "device. A new one counts once another person with the role security has confirmed it."
    )
    own = "Yours"
    none = "You have registered none."
    others = "Of others"
    no_others = "Nobody else has any."
    key = "Key"
    person = "Person"
    state = "State"
    created = "Registered"
    used = "Last used"
    states: ClassVar[Mapping[str, str]] = {
        "waiting": "waits for a second person",
        "ready": "in force",
        "removed": "removed",
    }
    confirmed_by = "confirmed by {who}"
    register = "Register a key"
    register_text = (
        "The browser asks for the key and has it verify you. Tell the person who will confirm it, in person or by a way "
        "that you both trust: they answer for its being yours."
    )
    begin = "Register"
    off = "No security key can be used here: {detail}. Whoever runs the gate can {remedy}."
    confirm = "Confirm"
    confirm_text = "Confirm only what its owner asked you for. You will stand in the record."
    remove = "Remove"
    remove_text = "A removed key signs no more, at once and for good."
    registered = "Registered. It counts once another person has confirmed it. That is on record."
    confirmed = "Confirmed: it counts from now on. That is on record."
    removed = "Removed: it signs no more. That is on record."
    reasons: ClassVar[Mapping[str, str]] = {
        "register": "registered on the page of security keys",
        "confirm": "confirmed on the page of security keys",
        "remove": "removed on the page of security keys",
    }
    needs_script = "This needs a browser with scripts and WebAuthn, at the gate's own address."
    failed = "The key did not answer. Nothing was sent; try again."
    no_answer = "the form carries no answer of a security key"
    no_answer_remedy = "use a browser with scripts and WebAuthn, and answer its question about the key"
