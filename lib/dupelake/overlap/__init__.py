"""Which sets of images (sources, partitions, scopes, values of a column) share pictures."""
