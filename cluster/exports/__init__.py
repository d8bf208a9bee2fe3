"""A job in the form that another scheduler reads: a room for each of them."""
