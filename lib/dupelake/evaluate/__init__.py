"""Tables against labelled truth."""
