"""The `distillery` command, one module a command; the only package that imports gateway, labeller and library alike."""
