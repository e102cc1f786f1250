"""A user's own structures, from the files that they lie in."""
