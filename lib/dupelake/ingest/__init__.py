"""Manifests and folders: what is new, what is gone, and how a file is fetched."""
