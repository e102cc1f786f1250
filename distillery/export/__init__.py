"""Handing a dataset on to trainers: the formats they read, a module each, and what each trainer asks of them."""
