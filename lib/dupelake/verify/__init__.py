"""From a candidate pair to evidence and a decision."""
