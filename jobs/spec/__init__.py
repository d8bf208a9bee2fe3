"""The job file: what a user asks for, validated."""
