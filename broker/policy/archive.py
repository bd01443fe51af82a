"""A folder of files as a deterministic tar.gz, and back without trusting it.

Writing: sorted names, no owner, no time, USTAR headers, so equal files give equal bytes with equal zlib. Reading: one
gzip member, plain files only, names without ``..`` or a leading slash, bounded count and sizes.
"""

import gzip
import io
import re
import tarfile
import zlib
from collections.abc import Mapping

from broker.errors import BadRequest, TooLarge

ARCHIVE_BYTES_MAX = 16 * 1024 * 1024
UNPACKED_BYTES_MAX = 64 * 1024 * 1024
FILE_BYTES_MAX = 8 * 1024 * 1024
FILES_MAX = 5_000

_NAME = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*")
_GZIP_ONLY = 16 + zlib.MAX_WBITS


def pack(files: Mapping[str, bytes]) -> bytes:
    """One tar.gz of ``files`` (name -> content)."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(files):
            entry = tarfile.TarInfo("/" + name)  # OPA's own archives are rooted so
            entry.size, entry.mode = len(files[name]), 0o644
            tar.addfile(entry, io.BytesIO(files[name]))
    return gzip.compress(plain.getvalue(), compresslevel=9, mtime=0)


def unpack(archive: bytes) -> dict[str, bytes]:
    """Return the files in ``archive`` by name; raises ``TooLarge`` or ``BadRequest`` (``policy.bad_archive``)."""
    plain = _inflate(archive)
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(plain), mode="r:") as tar:
            for entry in tar:
                name = _safe_name(entry)
                if name in files:
                    raise _bad(f"`{name}` stands in it twice")
                if len(files) >= FILES_MAX or entry.size > FILE_BYTES_MAX:
                    raise TooLarge(f"the bundle holds more than {FILES_MAX} files, or one over {FILE_BYTES_MAX} bytes")
                content = tar.extractfile(entry)
                files[name] = content.read() if content else b""
    except tarfile.TarError as error:
        raise _bad(f"its tar is broken ({type(error).__name__})") from None
    return files


def _inflate(archive: bytes) -> bytes:
    """The tar inside; a gzip bomb stops at the limit, and nothing may follow the one gzip member."""
    if len(archive) > ARCHIVE_BYTES_MAX:
        raise TooLarge(f"the bundle is larger than {ARCHIVE_BYTES_MAX} bytes")
    inflater = zlib.decompressobj(_GZIP_ONLY)
    try:
        plain = inflater.decompress(archive, UNPACKED_BYTES_MAX)
    except zlib.error:
        raise _bad("it is not gzip") from None
    if inflater.unconsumed_tail:
        raise TooLarge(f"the bundle unpacks to more than {UNPACKED_BYTES_MAX} bytes")
    if not inflater.eof or inflater.unused_data:
        raise _bad("it is cut short, or something follows it")
    return plain


def _safe_name(entry: tarfile.TarInfo) -> str:
    """The relative name of a plain file, or a refusal."""
    name = entry.name.removeprefix("/")
    if not entry.isreg():
        raise _bad("it holds something that is not a plain file")
    if not _NAME.fullmatch(name) or any(part in {".", ".."} for part in name.split("/")):
        raise _bad("it holds a name that leaves the bundle")
    return name


def _bad(what: str) -> BadRequest:
    return BadRequest(
        f"the policy bundle cannot be unpacked: {what}",
        code="policy.bad_archive",
        remedy="build it again with `wicketgate policy build`",
    )
