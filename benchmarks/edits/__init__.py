"""The edits bench: seeded copies of real photographs among look-alikes; recall and precision by edit and strength."""
