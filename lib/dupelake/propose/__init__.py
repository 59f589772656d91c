"""Candidate pairs: the LSH self-joins over hash codes, embedding codes and visual words."""
