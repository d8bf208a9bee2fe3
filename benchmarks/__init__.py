"""Benchmarks: each file is a command of its own; its docstring says what it measures."""
