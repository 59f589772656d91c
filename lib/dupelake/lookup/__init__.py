"""Checks images against a warehouse without Spark: an index of its contents, and the decision of a night."""
