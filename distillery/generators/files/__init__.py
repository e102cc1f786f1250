"""Files of structures as a pool: their formats, what each holds, and rows drawn from them without replacement."""
