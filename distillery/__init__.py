"""Distillery: datasets for distilling machine-learned force fields, made from a recipe, checked and judged."""
