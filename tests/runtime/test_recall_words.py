"""The text of `runs.recall`: planted copies, candidate generators compared with brute force, or only one of them."""

from __future__ import annotations

import json

from dupelake.runtime.run_report import recall_in_words

COPIES = {
    "all": {"found": 3, "planted": 4, "share": 0.75, "low": 0.3, "high": 0.95},
    "by_edit": {"mirror": {"found": 1, "planted": 2}, "crop": {"found": 2, "planted": 2}},
}
LEGS = {"legs": {"pdq": {"found": 5, "true": 6}, "phash": {"found": 2, "true": 2}}, "checked": 64}
COPIES_IN_WORDS = "3 of 4 planted copies found (75%, 95 % interval 30% to 95%): crop 2/2, mirror 1/2"
LEGS_IN_WORDS = "generators against brute force around 64 new images: pdq 5/6, phash 2/2"


def test_both_and_either():
    assert recall_in_words(json.dumps(COPIES)) == COPIES_IN_WORDS
    assert recall_in_words(json.dumps(LEGS)) == LEGS_IN_WORDS
    assert recall_in_words(json.dumps(COPIES | LEGS)) == f"{COPIES_IN_WORDS}; {LEGS_IN_WORDS}"


def test_a_sample_without_any_pair():
    nothing = json.dumps({"legs": {}, "checked": 3})
    assert recall_in_words(nothing) == "generators against brute force around 3 new images: no pair there"
