"""Datasets made of datasets: merged, filtered, selected. Each says of itself what it was made of, and can be made again."""
