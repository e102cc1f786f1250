"""The card of a dataset: what it is, whose licences it carries, how to load and how to cite it; as README.md and as Croissant."""
