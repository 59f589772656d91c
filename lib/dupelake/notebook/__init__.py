"""A warehouse in Python without Spark or Java: tables and answers as frames, groups as pictures."""
