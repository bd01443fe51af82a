"""What shows that the gate made a commit: a seal over it, under a key that only the gate has.

A commit's message is anybody's text. Who may push to a repository can write the trailer ``Wicketgate-Action`` with the id
of an action, but not the seal beside it: HMAC-SHA-256 over the action's id, the commit's parent and its tree, so that it
fits no other commit and no other action.
"""

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Final

ACTION: Final = "Wicketgate-Action"
"""Trailer of every commit that the gate makes: the id of the action."""
SEAL: Final = "Wicketgate-Seal"
FORMAT: Final = f"%H %T %P%x00%(trailers:key={SEAL},valueonly,separator=%x20)%x00"


@dataclass(frozen=True, slots=True)
class Seal:
    """Seals and knows commits again; all replicas share ``key``."""

    key: bytes = field(repr=False)

    def trailers(self, action_id: str, parent: str, tree: str) -> str:
        """The last lines of a commit's message."""
        return f"{ACTION}: {action_id}\n{SEAL}: {self._of(action_id, parent, tree)}\n"

    def found(self, action_id: str, log: str) -> str:
        """Of the commits of ``git log -z --format=FORMAT``, the id of the newest that the gate made for this action, or empty."""
        words = log.split("\0")
        for ids, shown in zip(words[::3], words[1::3], strict=False):
            commit, tree, *parents = ids.split()
            own = self._of(action_id, parents[0], tree) if len(parents) == 1 else ""
            if own and any(hmac.compare_digest(own, word) for word in shown.split() if word.isascii()):
                return commit
        return ""

    def _of(self, action_id: str, parent: str, tree: str) -> str:
        said = f"{action_id}\n{parent}\n{tree}".encode()
        return hmac.new(self.key, said, hashlib.sha256).hexdigest()
