"""Rules that decide pairs: what they would decide, and their verdicts in the tables; without Spark."""
