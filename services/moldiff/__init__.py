"""Molecules from MolDiff: atoms, positions and bonds diffused together, hydrogens added by us."""
