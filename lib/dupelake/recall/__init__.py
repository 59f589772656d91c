"""What a run finds of planted copies, and of what brute force finds."""
