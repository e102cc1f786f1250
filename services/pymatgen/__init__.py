"""Crystals: real compounds, decorated AFLOW prototypes and symmetric random crystals, expanded to the wanted size."""
