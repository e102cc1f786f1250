"""Tests on a real Slurm; `apt-get install slurm-wlm`."""
