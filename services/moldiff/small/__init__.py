"""The project's own small checkpoint, for trying and testing only: how it is trained and measured."""
