"""HTTP: the guard before everything, problem+json behind everything, and one table of routes between."""
