"""The molecule source: drug-like molecules grown from fragments, or a user's own SMILES, embedded and relaxed by RDKit."""
