"""``python -m tests.fuzz TARGET [--seconds N] [--out FOLDER]``: atheris on one target; exits 1 at a finding, which it keeps."""

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["broker"]):
    from tests.fuzz.targets import TARGETS, seeds


def main() -> None:
    """Fuzz until the time is over."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--out", type=Path, default=Path())
    chosen = parser.parse_args()
    corpus = Path(tempfile.mkdtemp(prefix="fuzz-"))
    for number, seed in enumerate(seeds()[chosen.target]):
        (corpus / str(number)).write_bytes(seed)
    bounds = [f"-max_total_time={chosen.seconds}", "-max_len=4096", "-rss_limit_mb=4096", "-timeout=60"]
    atheris.Setup([sys.argv[0], *bounds, f"-artifact_prefix={chosen.out}/", str(corpus)], TARGETS[chosen.target])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
