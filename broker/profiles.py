"""Redaction profiles as the active policy bundle has them."""

from collections.abc import Iterator, Mapping

from broker.policy.pdp import PolicyDecisionPoint
from broker.redaction import Profile, profiles_from


class ActiveProfiles(Mapping[str, Profile]):
    """Redaction profiles of whatever bundle is active now."""

    def __init__(self, policy: PolicyDecisionPoint) -> None:
        """Follow ``policy``; profiles are read once a bundle."""
        self._policy = policy
        self._digest = ""
        self._profiles: Mapping[str, Profile] = {}

    def _current(self) -> Mapping[str, Profile]:
        active = self._policy.active
        if active is None:
            return {}
        if active.digest != self._digest:
            self._profiles, self._digest = profiles_from(active.content.config.get("redaction", {})), active.digest
        return self._profiles

    def __getitem__(self, name: str) -> Profile:
        return self._current()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._current())

    def __len__(self) -> int:
        return len(self._current())
