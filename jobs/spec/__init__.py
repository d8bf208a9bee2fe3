"""The job file: a user's wishes, validated."""
