"""Running a job: each part's cascade, the dispatcher, and the executors."""
