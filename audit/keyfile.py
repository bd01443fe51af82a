"""Secret key files (0600, exact length) and small files that survive a crash."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from audit.errors import KeyRefused


def read_key(path: Path, length: int) -> bytes:
    """Return the `length` bytes of a key file that only its owner can read.

    Raises:
        KeyRefused: absent, readable by group or others, or of another length.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            key = file.read(length + 1)
    except OSError as error:
        raise KeyRefused(f"{path}: {error.strerror}; create it once with audit.keyfile.create_key") from None
    if mode & 0o077:
        raise KeyRefused(f"{path}: mode {mode:04o} lets others read the key; chmod 600 it and consider a new key")
    if len(key) != length:
        raise KeyRefused(f"{path}: not exactly {length} bytes")
    return key


def create_key(path: Path, key: bytes) -> None:
    """Write a new key file, 0600 from its first byte; an existing file stays as it is and is an error.

    Raises:
        KeyRefused: the file exists or cannot be written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise KeyRefused(f"{path}: {error.strerror}") from None
    sync_folder(path.parent)


def replace(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Put `content` at `path` so that a crash leaves the old file or the new one, whole and durable."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
