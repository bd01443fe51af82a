"""One file an outside system; README.md is the specification."""
