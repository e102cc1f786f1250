"""The page report.html: a dataset made visible, in one file that opens without a network."""
