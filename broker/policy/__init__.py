"""Policy: signed bundles, the engines that evaluate them, and the one decision point (see README.md here)."""
