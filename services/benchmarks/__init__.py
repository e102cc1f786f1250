"""The benchmark source: seeded samples of OC20, OC22 and MatBench, relabelled by the teacher like everything else."""
