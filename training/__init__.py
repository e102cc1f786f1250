"""Hand-over to training: PyTorch datasets over dataset.h5."""
