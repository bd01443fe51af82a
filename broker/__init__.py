"""The gate: README.md tells the life of one action, file by file."""
