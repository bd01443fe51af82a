"""Server-sent events (WHATWG HTML §9.2) of a source that is not trusted: the data of each, within a cap. Pure."""

from collections.abc import AsyncIterator

from broker.errors import UpstreamFailed


async def events(chunks: AsyncIterator[bytes], *, bytes_max: int) -> AsyncIterator[bytes]:
    """The data of each event of kind ``message``; LF, CR LF and CR end lines. An event that never ended is none.

    Raises ``UpstreamFailed`` (``upstream.too_large``) for one event over ``bytes_max``.
    """
    data, kind, size = list[bytes](), b"message", 0
    async for line in _lines(chunks, bytes_max):
        if line:
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"data":
                data.append(value)
                size += len(value)
            elif field == b"event":
                kind = value
            if size > bytes_max or len(data) > bytes_max:
                raise _too_large(bytes_max)
            continue
        if any(data) and kind == b"message":
            yield b"\n".join(data)
        data, kind, size = [], b"message", 0


async def _lines(chunks: AsyncIterator[bytes], bytes_max: int) -> AsyncIterator[bytes]:
    """Whole lines. A line is looked through once, however small the pieces are that it comes in."""
    parts, size, after_cr = list[bytes](), 0, False
    async for piece in chunks:
        chunk = piece.removeprefix(b"\n") if after_cr else piece
        after_cr = piece.endswith(b"\r")
        *whole, rest = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in whole:
            yield b"".join([*parts, line])
            parts, size = [], 0
        parts.append(rest)
        size += len(rest)
        if size > bytes_max:
            raise _too_large(bytes_max)


def _too_large(bytes_max: int) -> UpstreamFailed:
    return UpstreamFailed(f"one event of the stream is larger than {bytes_max} bytes", code="upstream.too_large")
