"""Chemeleon-DNG as a service: crystals de novo, or of given compositions."""
