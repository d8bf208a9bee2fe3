"""What a running job says to Prometheus, and the dashboard and alerts that read it."""
