"""The dataset on disk: parts, records, commit, resume, verify."""
