"""Writes a log into a folder as C2SP tlog-tiles that any third-party verifier reads.

Order makes it safe to stop anywhere: bundles, then tiles, each durable under its name, then the checkpoint that
covers them. It remembers nothing but the folder: the published checkpoint says how far it got. Before it
replaces a checkpoint, it proves that the store still contains the published tree.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from audit import tiles
from audit.checkpoint import Checkpoint, parse_checkpoint
from audit.errors import HistoryConflict, LogUnavailable, Malformed
from audit.keyfile import replace, sync_folder
from audit.log import consistency_of, tree_of
from audit.merkle import TILE_HEIGHT, TILE_WIDTH
from audit.note import signed_by
from audit.signer import Signer, require_consistent
from audit.store import Session, Store


class Publisher:
    """Publishes the logs of a store under a data folder.

    The log `default` goes to `log/` with its key in `log.vkey`; every other to `logs/<origin>/` with its key in
    `logs/<origin>.vkey`. All calls block: run them in a thread. One at a time works on a folder (a lock file).
    """

    def __init__(self, store: Store, signer: Signer, data: Path, default: str) -> None:
        self._store, self._signer, self._data, self._default = store, signer, data, default

    def folder(self, log: str) -> Path:
        """Return where a log is published."""
        return self._data / "log" if log == self._default else self._data / "logs" / log

    def publish_all(self) -> dict[str, Checkpoint]:
        """Bring every log's folder up to date, the default log's even when it is empty yet.

        Raises:
            LogUnavailable: the store cannot be read or the folder not written.
            HistoryConflict: the store contradicts what was published or signed.
        """
        try:
            session = self._store.connect()
        except self._store.failures as error:
            raise LogUnavailable(f"the audit log cannot be read: {error}") from None
        try:
            with self._alone():
                logs = dict.fromkeys([self._default, *(log for log, _tenant in session.logs())])
                return {log: self._publish(session, log) for log in logs}
        except (*self._store.failures, OSError) as error:  # type: ignore[misc]
            raise LogUnavailable(f"the audit log cannot be published: {error}") from None
        finally:
            session.close()

    def _publish(self, session: Session, log: str) -> Checkpoint:
        folder = self.folder(log)
        _make(folder)
        published = self._published(folder, log)
        tree = tree_of(session, log)
        if published is not None:
            require_consistent(published, tree, partial(consistency_of, session, log))
            if published.size >= tree.size:
                return published
        else:
            vkey = folder.with_name(folder.name + ".vkey")
            replace(vkey, f"{self._signer.verifier(log)}\n".encode())
        note = self._signer.sign(tree, partial(consistency_of, session, log))
        start = published.size if published else 0
        _write_tiles(folder, partial(session.hashes, log), partial(_bundle, session, log), start, tree.size)
        replace(folder / tiles.CHECKPOINT_PATH, str(note).encode())
        _drop_covered(folder, start, tree.size)
        return tree

    def _published(self, folder: Path, log: str) -> Checkpoint | None:
        try:
            encoded = (folder / tiles.CHECKPOINT_PATH).read_bytes()
        except FileNotFoundError:
            return None
        try:
            checkpoint, note = parse_checkpoint(encoded)
            ours = signed_by(note, self._signer.verifier(log))
        except Malformed as error:
            raise HistoryConflict(f"{folder}/checkpoint: {error}; restore it from a copy") from None
        if not ours or checkpoint.origin != log:
            raise HistoryConflict(f"{folder}/checkpoint is not of {log} under this key; publish to another folder")
        return checkpoint

    @contextmanager
    def _alone(self) -> Iterator[None]:
        _make(self._data)
        with (self._data / ".publish.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _bundle(session: Session, log: str, index: int, width: int) -> bytes:
    found = session.entries(log, index * TILE_WIDTH - 1, width)
    return tiles.join_bundle([one.body for one in found])


def _write_tiles(
    folder: Path,
    hashes: Callable[[int, int, int], list[bytes]],
    bundle: Callable[[int, int], bytes],
    start: int,
    size: int,
) -> None:
    """Write every bundle and tile that differs between trees of `start` and `size` records."""
    for index, width in tiles.spans(0, start, size):
        _put(folder / tiles.bundle_path(index, width), bundle(index, width))
    level = 0
    while size >> (TILE_HEIGHT * level):
        for index, width in tiles.spans(level, start, size):
            tile = tiles.join_tile(hashes(level, index * TILE_WIDTH, width))
            _put(folder / tiles.tile_path(level, index, width), tile)
        level += 1


def _put(path: Path, content: bytes) -> None:
    if path.is_file() and path.read_bytes() == content:
        return
    _make(path.parent)
    replace(path, content)


def _make(folder: Path) -> None:
    """Make a folder and its parents, each durable in its parent."""
    if folder.is_dir():
        return
    _make(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def _drop_covered(folder: Path, start: int, size: int) -> None:
    """Remove partial tiles of which the full tile is published now.

    Those of the tile that still grows stay: a reader may hold an older checkpoint.
    """
    level = 0
    while size >> (TILE_HEIGHT * level):
        for index, width in tiles.spans(level, start, size):
            if width == TILE_WIDTH:
                _remove(folder / (tiles.tile_path(level, index) + ".p"))
                if level == 0:
                    _remove(folder / (tiles.bundle_path(index) + ".p"))
        level += 1


def _remove(folder: Path) -> None:
    if folder.is_dir():
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
