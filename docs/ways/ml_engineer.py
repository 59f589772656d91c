"""ML.

Text.
"""
