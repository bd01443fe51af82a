"""The project's policy with a few of its golden decisions: every rule, datum, schema and manifest, for gates in tests.

A gate asks its engine every golden decision at each start. All of them are held by ``tests/unit/policies`` on both
engines, and asked again by the gates of the demo; hundreds of gates need not say it again.
"""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
KEPT = frozenset(["bases.yaml", "main/main.yaml"])


@functools.cache
def policies() -> Path:
    """The folder; made once a process, gone with it. Not to be changed: copy it."""
    above = tempfile.mkdtemp(prefix="policies-")
    atexit.register(shutil.rmtree, above, ignore_errors=True)
    folder = Path(above) / "policies"
    shutil.copytree(ROOT / "policies", folder, ignore=shutil.ignore_patterns(".regal"))
    for path in (folder / "golden").rglob("*.yaml"):
        if path.relative_to(folder / "golden").as_posix() not in KEPT:
            path.unlink()
    return folder
