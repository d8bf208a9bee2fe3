"""Schedules of Bottega's own: jobs that are submitted for each date by `bottega schedule serve`."""
