"""The audit log: append-only, hash-chained, published for verifiers that are not ours. Imports nothing of ours.

Import from the module that owns a name (`audit.log`, `audit.record`, `audit.errors`, …).
"""
