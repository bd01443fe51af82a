"""The only way out of the gate."""

from broker.egress.addresses import AddressRule
from broker.egress.client import Answer, Egress, Streamed, Upstream, UpstreamSettings
from broker.egress.httpx_api import httpx_client

__all__ = ["AddressRule", "Answer", "Egress", "Streamed", "Upstream", "UpstreamSettings", "httpx_client"]
