"""What the services of generative models share: sampling, upstream's code, checkpoints, replacements of compiled kernels."""
