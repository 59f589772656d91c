"""Numpy, Pillow and torch on arrays and bytes; nothing here knows Spark."""
