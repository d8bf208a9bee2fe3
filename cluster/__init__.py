"""Where a job runs, and how a person or a pipeline talks to it."""
