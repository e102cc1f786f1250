"""Crystals from MatterGen, a diffusion model."""
