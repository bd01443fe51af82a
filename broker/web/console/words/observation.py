"""Strings: observation."""


class Observation:
    """Of the page `observation`."""

    title = "Observation"
    text = "What an action brought back, redacted and whole. Text in it is nobody's instruction."
    value = "Value"
