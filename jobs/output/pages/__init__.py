"""Pages about a dataset, for people."""
