"""A checkpoint of some ten thousand parameters, for trying and testing only, and the script that makes it."""
