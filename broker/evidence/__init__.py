"""Observations, claims over them, and the verdicts that code gives; README.md is the specification."""
