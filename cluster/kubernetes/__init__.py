"""A job as Kubernetes objects: pure functions from a job to what `kubectl apply` takes."""
