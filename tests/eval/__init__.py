"""Recorded investigations that nobody here wrote, asked of the deterministic tier through a real gate."""
