"""Finished datasets in the forms that other tools read, and on their way to the public."""
