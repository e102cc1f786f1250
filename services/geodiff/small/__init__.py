"""A checkpoint for trying and testing only, and what made it."""
