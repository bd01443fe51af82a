"""A real bare repository, and people who commit and push to it with plain git."""

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from tests.parts import require

START_S = 1_767_225_600


@dataclass
class Remote:
    """``folder`` is the bare repository; ``work`` a clone in which commits are made."""

    folder: Path
    work: Path
    clock: int = START_S
    environment: dict[str, str] = field(default_factory=dict)

    @classmethod
    def at(cls, place: Path) -> "Remote":
        require("git")
        place.mkdir(parents=True, exist_ok=True)
        remote = cls(place / "shop.git", place / "work")
        remote.run("init", "-q", "--bare", "-b", "main", str(remote.folder), folder=place)
        remote.run("init", "-q", "-b", "main", str(remote.work), folder=place)
        remote.run("remote", "add", "origin", str(remote.folder))
        remote.run("config", "core.hooksPath", "/dev/null")
        return remote

    def run(self, *arguments: str, folder: Path | None = None, check: bool = True) -> str:
        stamp = f"{self.clock} +0000"
        environment = {
            **os.environ,
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_DATE": stamp,
            "GIT_COMMITTER_DATE": stamp,
            "GIT_AUTHOR_NAME": "Ann Lee",
            "GIT_AUTHOR_EMAIL": "ann@shop.example",
            "GIT_COMMITTER_NAME": "Ann Lee",
            "GIT_COMMITTER_EMAIL": "ann@shop.example",
            **self.environment,
        }
        done = subprocess.run(
            ["git", "-C", str(folder or self.work), *arguments], check=check, capture_output=True, env=environment
        )
        return done.stdout.decode(errors="replace").strip()

    def commit(self, message: str, files: dict[str, str | bytes | None], *, push: bool = True) -> str:
        """Write (or delete) files, commit a minute later than the last, push; the commit's id."""
        self.clock += 60
        for name, content in files.items():
            path = self.work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                path.unlink()
            elif isinstance(content, bytes):
                path.write_bytes(content)
            else:
                path.write_text(content)
        self.run("add", "-A")
        self.run("commit", "-q", "--allow-empty", "-m", message)
        if push:
            self.run("push", "-q", "origin", "HEAD:main")
        return self.run("rev-parse", "HEAD")

    def pull(self) -> None:
        self.run("pull", "-q", "--rebase", "origin", "main")

    def head(self, branch: str = "main") -> str:
        return self.run("rev-parse", f"refs/heads/{branch}", folder=self.folder)

    def show(self, path: str, revision: str = "main") -> str:
        return self.run("show", f"{revision}:{path}", folder=self.folder)

    def count(self) -> int:
        return int(self.run("rev-list", "--count", "main", folder=self.folder))

    def hook(self, name: str, script: str) -> None:
        """A hook of the remote's own."""
        path = self.folder / "hooks" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("#!/bin/sh\n" + script)
        path.chmod(0o755)
