"""What an MCP tool answered, as a result: text and structure whole, binary as what it is and not as itself. Pure.

``{"content": [...], "structured": ...}``. Both are scanned and redacted like any result. Images, sound and binary
resources cannot be looked into, so they are named (kind, media type, size, digest) and withheld; a link is a text.
"""

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import Any

from mcp_types import (
    AudioContent,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
)
from mcp_types import TextResourceContents as Text

from broker.model import Json, Result, ResultStatus


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of one answer is kept."""

    parts_max: int
    text_bytes_max: int


class _Cut:
    """What was left out, by kind."""

    def __init__(self) -> None:
        self.texts = self.parts = self.binary = 0

    def said(self, sizes: Sizes) -> str:
        told = [f"{self.texts} texts cut to {sizes.text_bytes_max} bytes"] if self.texts else []
        told += [f"{self.parts} parts left out"] if self.parts else []
        told += [f"{self.binary} binary parts withheld"] if self.binary else []
        return ", ".join(told)


def shaped(answer: CallToolResult, sizes: Sizes) -> Result:
    """Tell OK, EMPTY, TRUNCATED and ERROR apart (``isError`` is the tool's own failure)."""
    cut = _Cut()
    cut.parts = max(0, len(answer.content) - sizes.parts_max)
    content = [_part(one, sizes, cut) for one in answer.content[: sizes.parts_max]]
    value: dict[str, Json] = {"content": content}
    if answer.structured_content is not None:
        value["structured"] = answer.structured_content
    units = {"rows": len(content)}
    detail = cut.said(sizes)
    if answer.is_error:
        return Result(ResultStatus.ERROR, value, "the tool says that it failed", units)
    if detail:
        return Result(ResultStatus.TRUNCATED, value, detail, units)
    empty = not answer.structured_content and not any(_says(part) for part in content)
    return Result(ResultStatus.EMPTY if empty else ResultStatus.OK, value, "", units)


def _part(block: ContentBlock, sizes: Sizes, cut: _Cut) -> dict[str, Json]:
    match block:
        case TextContent():
            return {"type": "text", "text": _text(block.text, sizes, cut)}
        case ImageContent() | AudioContent():
            return {"type": block.type, **_withheld(block.data, block.mime_type, cut)}
        case ResourceLink():
            told = {"name": block.name, "title": block.title, "description": block.description, "uri": str(block.uri)}
            shown: dict[str, Any] = {"type": "resource_link", **told, "media_type": block.mime_type}
            return {
                name: _text(value, sizes, cut) if isinstance(value, str) else value
                for name, value in shown.items()
                if value is not None
            }
        case EmbeddedResource():
            held = block.resource
            base: dict[str, Json] = {"type": "resource", "uri": _text(str(held.uri), sizes, cut)}
            if isinstance(held, Text):
                return {**base, "media_type": held.mime_type, "text": _text(held.text, sizes, cut)}
            return {**base, **_withheld(held.blob, held.mime_type, cut)}


def _text(text: str, sizes: Sizes, cut: _Cut) -> str:
    """Cut at a line where there is one in the last tenth."""
    told = text.encode("utf-8", errors="replace")
    if len(told) <= sizes.text_bytes_max:
        return told.decode()
    cut.texts += 1
    kept = told[: sizes.text_bytes_max]
    line = kept.rfind(b"\n", len(kept) * 9 // 10)
    return (kept[:line] if line > 0 else kept).decode("utf-8", errors="ignore")


def _withheld(data: str, media_type: str | None, cut: _Cut) -> dict[str, Json]:
    cut.binary += 1
    try:
        raw = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raw = data.encode("utf-8", errors="replace")
    return {
        "media_type": media_type,
        "bytes": len(raw),
        "sha256": hashlib.sha256(raw).hexdigest(),
        "withheld": "binary content is not passed on",
    }


def _says(part: dict[str, Json]) -> bool:
    return part["type"] != "text" or bool(part["text"].strip())
