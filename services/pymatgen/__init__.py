"""Crystals: AFLOW prototypes and symmetric random crystals, decorated, scaled to a sensible volume and expanded."""
