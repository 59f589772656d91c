"""The bodies of the jobs: read, call stages, write, count."""
