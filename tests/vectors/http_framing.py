"""Requests whose ends two readers could see in different places, as bytes, by name.

The classes are those of llhttp's own request tests (content-length, transfer-encoding, invalid, pipelining) and of the
published smuggling attacks (CL.TE, TE.CL, TE.TE, CL.0, chunk tricks, bare line ends, folding, odd versions and targets).
``{host}``, ``{auth}`` and ``{body}`` are filled in; the body is one JSON object that the gate would act on.
"""

from collections.abc import Iterator

BODY = b'{"action":"local.process.status","resource":{"type":"process","id":"checkout","env":"prod"}}'
_SECOND = b"GET /v1/policies HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n\r\n"
"""What an attacker wants somebody to read as the next request."""
_CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
_LENGTH = b"Content-Length: %d" % len(BODY)
_CHUNKED = b"Transfer-Encoding: chunked"


def _post(*lines: bytes, body: bytes = BODY, start: bytes = b"POST /v1/actions HTTP/1.1") -> bytes:
    head = [start, b"Host: {host}", b"{auth}", b"Content-Type: application/json", *lines]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def _get(*lines: bytes, start: bytes = b"GET /livez HTTP/1.1", host: bytes = b"Host: {host}\r\n") -> bytes:
    return start + b"\r\n" + host + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def _chunks(data: bytes) -> bytes:
    return _post(_CHUNKED, body=data)


PLAIN = {
    "a length": _post(_LENGTH),
    "chunks": _post(_CHUNKED, body=_CHUNKS),
    "two chunks": _chunks(b"5\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (BODY[:5], len(BODY) - 5, BODY[5:])),
    "a chunk size in capitals": _chunks(b"%X\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)),
    "a chunk extension": _chunks(b"%x;a=b\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)),
    "a quoted chunk extension": _chunks(b'%x;a="b"\r\n%s\r\n0\r\n\r\n' % (len(BODY), BODY)),
    "a last chunk of three zeros": _chunks(b"%x\r\n%s\r\n000\r\n\r\n" % (len(BODY), BODY)),
    "a trailer": _chunks(b"%x\r\n%s\r\n0\r\nVary: *\r\n\r\n" % (len(BODY), BODY)),
    "chunked in capitals": _post(b"Transfer-Encoding: CHUNKED", body=_CHUNKS),
    "a length with zeros before it": _post(b"Content-Length: 0%d" % len(BODY)),
    "two requests in one write": _get() + _get(),
}
"""One meaning for everybody: both must take these, alike."""

AMBIGUOUS = {
    # -- lengths
    "CL.TE with a second request": _post(
        b"Content-Length: %d" % (5 + len(_SECOND)), _CHUNKED, body=b"0\r\n\r\n" + _SECOND
    ),
    "two lengths that differ": _post(_LENGTH, b"Content-Length: 0"),
    "a list of other lengths": _post(b"Content-Length: %d, 0" % len(BODY)),
    "a signed length": _post(b"Content-Length: +%d" % len(BODY)),
    "a negative length": _post(b"Content-Length: -1"),
    "a length with a point": _post(b"Content-Length: %d.0" % len(BODY)),
    "a hexadecimal length": _post(b"Content-Length: 0x5c"),
    "an empty length": _post(b"Content-Length:"),
    "a length of two numbers": _post(b"Content-Length: 9 2"),
    "a length over 64 bits": _post(b"Content-Length: 18446744073709551708"),
    "a length under another name's space": _post(b"Content-Length : %d" % len(BODY)),
    # -- transfer codings
    "a coding nobody knows": _post(b"Transfer-Encoding: pigeons", body=_CHUNKS),
    "identity with a length": _post(b"Transfer-Encoding: identity", _LENGTH),
    "an empty coding with a length": _post(b"Transfer-Encoding:", _LENGTH),
    "chunked twice": _post(_CHUNKED, _CHUNKED, body=_CHUNKS),
    "chunked, then identity": _post(_CHUNKED, b"Transfer-Encoding: identity", body=_CHUNKS),
    "identity, then chunked": _post(b"Transfer-Encoding: identity", _CHUNKED, body=_CHUNKS),
    "chunked not last": _post(b"Transfer-Encoding: chunked, gzip", body=_CHUNKS),
    "gzip before chunked": _post(b"Transfer-Encoding: gzip, chunked", body=_CHUNKS),
    "xchunked": _post(b"Transfer-Encoding: xchunked", body=_CHUNKS),
    "chunked with a vertical tab": _post(b"Transfer-Encoding: \x0bchunked", body=_CHUNKS),
    "chunked in quotes": _post(b'Transfer-Encoding: "chunked"', body=_CHUNKS),
    "a space before the colon": _post(b"Transfer-Encoding : chunked", body=_CHUNKS),
    "a NUL in the coding": _post(b"Transfer-Encoding: chunked\x00", body=_CHUNKS),
    "chunked over HTTP/1.0": _post(_CHUNKED, body=_CHUNKS, start=b"POST /v1/actions HTTP/1.0"),
    # -- chunks
    "a chunk size of nonsense": _chunks(b"zz\r\n%s\r\n0\r\n\r\n" % BODY),
    "a chunk size with 0x": _chunks(b"0x%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)),
    "a signed chunk size": _chunks(b"+%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)),
    "a negative chunk size": _chunks(b"-1\r\n%s\r\n0\r\n\r\n" % BODY),
    "a chunk size over 64 bits": _chunks(b"1000000000000005c\r\n%s\r\n0\r\n\r\n" % BODY),
    "a space before a chunk size": _chunks(b" %x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)),
    "words after a chunk size": _chunks(b"%x erf\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)),
    "a bare CR after a chunk size": _chunks(b"%x\r%s\r\n0\r\n\r\n" % (len(BODY), BODY)),
    "a bare LF in a chunk extension": _chunks(b"%x;a\nb\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)),
    "a chunk longer than it says": _chunks(b"5\r\n%s\r\n0\r\n\r\n" % BODY),
    # -- line ends and names
    "a bare LF between headers": _post(b"X: x\n" + _CHUNKED, _LENGTH),
    "a bare CR between headers": _post(b"X: x\r" + _CHUNKED, _LENGTH),
    "a bare CR at the end of headers": _get(b"Connection: close").removesuffix(b"\r\n") + b"\rZ" + _SECOND,
    "a space before the first header": b"POST /v1/actions HTTP/1.1\r\n " + _post(_LENGTH).split(b"\r\n", 1)[1],
    "a header without a colon": _post(b"nonsense", _LENGTH),
    "a header without a name": _post(b": x", _LENGTH),
    "an at sign in a name": _post(b"Fo@: x", _LENGTH),
    "a control in a name": _post(b"Foo\x01: x", _LENGTH),
    "a NUL in a value": _post(b"X: a\x00b", _LENGTH),
    # -- the first line
    "no host": _get(host=b""),
    "another's host": _get(host=b"Host: evil.example\r\n"),
    "a host with a user": _get(host=b"Host: x@{host}\r\n"),
    "HTTP/1.0": _get(start=b"GET /livez HTTP/1.0"),
    "HTTP/0.9": b"GET /livez\r\n",
    "HTTP/2.0": _get(start=b"GET /livez HTTP/2.0"),
    "HTTP/1.10": _get(start=b"GET /livez HTTP/1.10"),
    "ICE/1.0": _get(start=b"GET /livez ICE/1.0"),
    "a method in small letters": _get(start=b"get /livez HTTP/1.1"),
    "a method nobody knows": _get(start=b"MKCOLA /livez HTTP/1.1"),
    "a target without a slash": _get(start=b"GET livez HTTP/1.1"),
    "dot segments": _get(start=b"GET /v1/../livez HTTP/1.1"),
    "encoded dots": _get(start=b"GET /v1/%2e%2e/livez HTTP/1.1"),
    "an encoded slash": _get(start=b"GET /v1%2flivez HTTP/1.1"),
    "a body on a GET (CL.0)": _get(b"Content-Length: %d" % len(_SECOND)) + _SECOND,
    "chunks on a GET": _get(_CHUNKED) + b"%x\r\n%s\r\n0\r\n\r\n" % (len(_SECOND), _SECOND),
    "the HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a tunnel": _get(start=b"CONNECT {host} HTTP/1.1"),
    "an upgrade to h2c with a body": _post(
        b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk", b"Content-Length: 0, 1"
    ),
}
"""No two readers need agree on these: refused or cut off, alone and behind the proxy, and nothing after them is read."""

NORMALISED = {
    "length before chunked (CL.TE)": _post(b"Content-Length: %d" % len(_CHUNKS), _CHUNKED, body=_CHUNKS),
    "chunked before length (TE.CL)": _post(_CHUNKED, b"Content-Length: 4", body=_CHUNKS),
    "two equal lengths": _post(_LENGTH, _LENGTH),
    "a list of equal lengths": _post(b"Content-Length: %d, %d" % (len(BODY), len(BODY))),
    "spaces around a length": _post(b"Content-Length:   %d  " % len(BODY)),
    "a bare LF after a chunk size": _chunks(b"%x\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)),
    "a bare LF after a chunk": _chunks(b"%x\r\n%s\n0\r\n\r\n" % (len(BODY), BODY)),
    "bare LF everywhere": _post(_LENGTH).replace(b"\r\n", b"\n"),
    "a folded header": _post(b"X: x\r\n " + _CHUNKED, _LENGTH),
    "a folded length": _post(b"Content-Length:\r\n %d" % len(BODY)),
}
"""RFC 9112 lets a proxy make one plain request of these or end the connection after it, and the shipped one does: what
it passes on is written anew. The gate alone refuses them; behind the proxy it must see that one request and no other."""

HARMLESS = {
    "two hosts": _get(b"Host: {host}"),
    "two spaces in the first line": _get(start=b"GET  /livez HTTP/1.1"),
    "a tab in the first line": _get(start=b"GET\t/livez HTTP/1.1"),
    "another's absolute target": _get(start=b"GET http://evil.example/livez HTTP/1.1"),
    "a fragment": _get(start=b"GET /livez#x HTTP/1.1"),
}
"""Odd, and without two ends: whoever takes it takes the same request."""


KINDS = {"plain": PLAIN, "ambiguous": AMBIGUOUS, "normalised": NORMALISED, "harmless": HARMLESS}


def filled(host: str, auth: str) -> Iterator[tuple[str, str, bytes]]:
    """``(class, name, bytes)`` of every probe for one place and one caller."""
    for kind, probes in KINDS.items():
        for name, text in probes.items():
            yield kind, name, text.replace(b"{host}", host.encode()).replace(b"{auth}", auth.encode())
