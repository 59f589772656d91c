"""The effects around a job: session, logs, progress, run records."""
