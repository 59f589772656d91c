"""The jobs: read tables, call the steps, write tables."""
