"""The gate as a server of the Model Context Protocol (see README.md)."""

from broker.web.mcp.door import PATH, McpApi

__all__ = ["PATH", "McpApi"]
