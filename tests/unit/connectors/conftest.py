"""Grants and requests as the pipeline makes them, from a manifest as the bundle carries it."""

from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from broker.catalog import Action, Catalog
from broker.model import ActionRequest, Grant, Resource


class Asked:
    """One action of a YAML manifest, asked with arguments."""

    def __init__(self, manifest: str) -> None:
        self.catalog = Catalog.from_manifests([yaml.safe_load(manifest)])

    def request(
        self, action: str, resource: Resource, arguments: Mapping[str, Any], action_id: str = "act_1"
    ) -> ActionRequest:
        complete = self.catalog.complete(action, resource, arguments)
        return self.catalog.request(
            action_id=action_id,
            tenant="default",
            requester="dev:agent-1",
            session="ses_1",
            action=action,
            resource=resource,
            arguments=complete,
        )

    def grant(
        self,
        action: str,
        resource: Resource,
        arguments: Mapping[str, Any],
        action_id: str = "act_1",
        *,
        plan_fingerprint: str = "",
        region: str = "",
    ) -> tuple[Grant, Action]:
        request = self.request(action, resource, arguments, action_id)
        grant = Grant(
            id=action_id,
            request=request,
            policy_revision="r1",
            expires_at=2**40,
            arguments=request.arguments,
            plan_fingerprint=plan_fingerprint,
            region=region,
        )
        return grant, self.catalog.action(action)


@pytest.fixture
def asked() -> type[Asked]:
    """Build from manifest text."""
    return Asked
