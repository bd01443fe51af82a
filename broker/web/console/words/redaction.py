"""Strings: redaction."""

from collections.abc import Mapping
from typing import ClassVar


class Redaction:
    """Of the page `redaction`."""

    title = "Redaction lab"
    text = (
        "Bring a text and see what a model would see of it. The text is looked at in memory and forgotten with the answer: "
        "the log keeps that you looked, how long the text was, how much was found, and a keyed digest. The pseudonyms below "
        "hold for this one look; in a session the same value has another one."
    )
    bring = "Text"
    bring_text = "At most {most} characters."
    profile = "Profile"
    profile_text = "“default” is what every request goes through. “standard” leaves each kind at its default, as `wicketgate redact` does."
    look = "Look at it"
    result = "What was seen"
    nothing_yet = (
        "Nothing was looked at yet. Put a text above; a line of a log or an answer of a system is a good start."
    )
    nothing_found = "Nothing was found: a model would see this text as it is. What no rule knows, redaction does not find; names in free prose are an example."
    refused = (
        "The gate would refuse a request that holds this text: {withheld} of its parts could not be read, and this profile allows none. "
        "A model would see nothing."
    )
    withheld = "{withheld} of its parts could not be read and are withheld."
    forged = "{forged} places only look like pseudonyms of this gate. They are changed, so that nobody can forge one."
    summary = "{characters} characters, {findings} findings."
    before = "As it came"
    after = "What a model would see"
    found = "Findings"
    number = "No."
    entity = "Kind"
    detector = "Found by"
    rule = "Rule"
    score = "Score"
    span = "Characters"
    operator = "What becomes of it"
    mark = "Finding {number}: {said}"
    mark_forged = "Changed: {said}"
    profiles = "What the profiles do"
    defaults = "Every kind has its default."
    keeps = ", {part} stays"
    kept: ClassVar[Mapping[str, str]] = {
        "domain": "its domain",
        "last4": "its last four digits",
        "country": "its country",
    }
    detectors: ClassVar[Mapping[str, str]] = {
        "pattern": "its form",
        "validated": "its form and a check",
        "url": "its place in an address",
        "key": "the name of its field",
    }
    operators: ClassVar[Mapping[str, str]] = {
        "destroy": "destroyed",
        "pseudonym": "pseudonym",
        "redact": "removed",
        "mask": "masked",
        "hash": "keyed digest",
        "generalise": "made less exact",
        "prefix": "pseudonym that keeps the network",
        "keep": "stays",
        "withhold": "withheld: it could not be read",
        "escape": "looked like a pseudonym",
    }
