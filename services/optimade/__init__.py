"""Real crystals from any database that speaks OPTIMADE, cached and sampled without replacement."""
