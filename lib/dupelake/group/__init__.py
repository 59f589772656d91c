"""From accepted pairs to groups: components, keepers, ids, reasons, and verdicts of people."""
