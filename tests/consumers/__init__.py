"""Exports read by the programs that they are for: a module each, run in an environment of its own by scripts/consumers.py."""
