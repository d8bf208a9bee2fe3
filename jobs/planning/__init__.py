"""Plans: the time and the cost of a job, before it starts."""
