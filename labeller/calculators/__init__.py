"""ASE calculators as teachers: one structure at a time, in worker processes."""
