"""The actors that do the work: student, oracle and teacher, and the pools that hold them.

Nothing in this package knows what a job is; `jobs` builds on it, and `cluster` on `jobs`.
"""
