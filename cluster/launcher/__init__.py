"""A file of Ray's cluster launcher (`ray up`): what is wrong with it, and Ray's commands on it."""
