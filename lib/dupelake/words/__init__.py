"""Keypoints, visual words, and how many words two images share."""
