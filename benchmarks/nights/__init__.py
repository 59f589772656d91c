"""The nights bench: what a night of 1 % new images costs beside the full run."""
