"""Name every installed distribution that the given ones do not need: what only development uses is not shipped."""

import sys
from importlib.metadata import distributions

from pip._vendor.packaging.requirements import Requirement
from pip._vendor.packaging.utils import canonicalize_name


def unneeded(wanted: list[str]) -> list[str]:
    """Names of installed distributions, sorted, without ``wanted`` and all that these ask for here."""
    installed = {canonicalize_name(one.metadata["Name"]): one for one in distributions()}
    needed: set[tuple[str, str]] = set()
    waiting = [(canonicalize_name(name), "") for name in wanted]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in needed or name not in installed:
            continue
        needed.add((name, extra))
        for line in installed[name].requires or ():
            asked = Requirement(line)
            if asked.marker is None or asked.marker.evaluate({"extra": extra}):
                found = canonicalize_name(asked.name)
                waiting += [(found, ""), *((found, canonicalize_name(one)) for one in asked.extras)]
    return sorted(set(installed) - {name for name, _ in needed})


if __name__ == "__main__":
    print("\n".join(unneeded(sys.argv[1:])))
