"""What the services of generative models share: sampling, upstream's code, checkpoints, stand-ins for compiled kernels."""
