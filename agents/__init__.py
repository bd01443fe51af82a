"""Agents: clients of the gate. They hold an identity and nothing else."""
