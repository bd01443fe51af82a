"""The data folder: its secret keys, and the lock that keeps a second gate out."""

import fcntl
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from audit.keyfile import create_key, read_key
from audit.signer import FileSigner
from broker.errors import Conflict

KEY_BYTES = 32


class Keys:
    """Secret key files of the data folder, made at first use; replicas are given the same folder."""

    def __init__(self, folder: Path) -> None:
        """``folder`` is made with mode 0700."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder

    def secret(self, name: str) -> bytes:
        """32 bytes; raises ``audit.errors.KeyRefused`` for a file that others can read."""
        path = self.folder / name
        if not path.exists():
            create_key(path, secrets.token_bytes(KEY_BYTES))
        return read_key(path, KEY_BYTES)

    def signer(self) -> FileSigner:
        """The log's signer."""
        self.secret("log.key")
        return FileSigner.from_file(self.folder / "log.key")


@contextmanager
def alone(data: Path, *, shared: bool) -> Iterator[None]:
    """One gate a data folder on SQLite: the lock falls with the process, however it ends."""
    if shared:
        yield
        return
    with (data / "gate.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(
                "another gate uses this data folder",
                code="gate.data_in_use",
                remedy="stop it, or give --data another folder",
            ) from None
        yield
