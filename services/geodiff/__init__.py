"""GeoDiff: conformers of given molecules by diffusion."""
