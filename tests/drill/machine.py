"""What the drill reads of processes and of the machine that it runs on (Linux)."""

import os
from pathlib import Path
from typing import Any


def memory_kib(pid: int) -> int:
    """Resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")))


def files(pid: int) -> int:
    """Open descriptors of a process."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def threads(pid: int) -> int:
    """Threads of a process."""
    return sum(1 for _ in Path(f"/proc/{pid}/task").iterdir())


def summary() -> dict[str, Any]:
    """Cores and load, for who reads the figures."""
    return {"cores": os.cpu_count(), "load": [round(one, 1) for one in os.getloadavg()]}
