"""What models are told before they are told anything else. The texts lie beside this file."""

from functools import cache
from importlib.resources import files


@cache
def text(name: str) -> str:
    """The prompt ``name``, as it is."""
    return (files(__name__) / f"{name}.md").read_text(encoding="utf-8")
