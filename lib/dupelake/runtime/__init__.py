"""Session, lock, logs, metrics and the record of a run."""
