"""Uncertain pairs as a page and a file for people to answer."""
