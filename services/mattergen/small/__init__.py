"""A checkpoint of a few thousand parameters, for trying and testing only, and the script that makes it."""
