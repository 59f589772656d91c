"""The targets and files that the README names; test_register.py runs its SQL."""

from __future__ import annotations

import re
from pathlib import Path

REPO = Path(__file__).parents[1]
README = (REPO / "README.md").read_text(encoding="utf-8")


def test_make_targets_and_files_that_are_named_exist():
    makefile = (REPO / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"`?make ([a-z-]+)", README)):
        assert re.search(rf"^{target}:", makefile, flags=re.M), target
    for path in set(re.findall(r"`((?:docs|conf|benchmarks|lib|jobs)/[\w./]+)`", README)):
        assert (REPO / path).exists(), path
