"""Keypoints, visual words, and the number of words that two images share."""
