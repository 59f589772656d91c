"""One corpus in one night, in three, in twelve, in any order: equal pairs, equal groups, and events that replay.

Between nights images are forgotten, tombstoned, dropped from a listing, and people give verdicts. DUPELAKE_NIGHTS=all
feeds three shuffles of 1, 3 and 12 nights (half an hour); without it one shuffle, in 1 and 3 nights.
"""

from __future__ import annotations

import csv
import os
import random
from pathlib import Path

import pytest
from lineage import facts, grouped, parts, replayed, sizes_by_events, sizes_now
from pictures import OPTIONS, SCENES, photograph
from PIL import ImageOps

from dupelake import cli
from dupelake.pipeline import nightly
from dupelake.warehouse.schema import GROUPS, PAIRS
from dupelake.warehouse.tables import Warehouse

ALL = os.environ.get("DUPELAKE_NIGHTS") == "all"
SCHEDULES = [(shuffle, nights) for shuffle in range(3) for nights in (1, 3, 12)] if ALL else [(0, 1), (0, 3)]

# (verb, images): done between nights, as soon as all the images are there.
BETWEEN = (
    ("forget", "coffee"),  # the keeper of its group
    ("not_duplicate", "chelsea", "chelsea half"),
    ("duplicate", "camera", "moon"),
    ("alternate", "coins", "coins crop"),
    ("keeper", "astronaut q60"),
    ("tombstone", "rocket half"),
    ("unlisted", "ihc twin"),
)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> dict[str, Path]:
    folder, found = tmp_path_factory.mktemp("pictures"), {}
    for i, name in enumerate(SCENES):
        picture, stem = photograph(name, 360), Path(name).stem
        width, height = picture.size
        made = {"": (picture, ".png", {})}
        made[" half"] = (picture.resize((width // 2, height // 2)), ".jpg", {"quality": 85})
        made[" q60"] = (picture, ".jpg", {"quality": 60})
        if i % 2:
            made[" mirrored"] = (ImageOps.mirror(picture), ".jpg", {"quality": 90})
        else:
            made[" crop"] = (picture.crop((width // 8, height // 8, width, height)), ".jpg", {"quality": 90})
        for what, (image, ending, options) in made.items():
            found[stem + what] = folder / f"{stem}{what}{ending}"
            image.save(found[stem + what], **options)
        if i % 3 == 0:
            found[f"{stem} twin"] = folder / f"{stem} twin.png"
            found[f"{stem} twin"].write_bytes(found[stem].read_bytes())
    found["broken"] = folder / "broken.jpg"
    found["broken"].write_text("no image", encoding="utf-8")
    return found


class History:
    """A warehouse that is fed by one growing manifest, and what was done to it."""

    def __init__(self, spark, folder: Path, pictures: dict[str, Path]) -> None:
        self.warehouse, self.pictures = Warehouse(spark, str(folder / "wh")), pictures
        self.manifest, self.listed = folder / "manifest.csv", []
        self.deleted, self.left = set(), list(BETWEEN)
        self.past: dict[int, dict[str, tuple[str, bool]]] = {}

    def night(self, names: list[str], *options: str) -> None:
        self.listed += names
        with self.manifest.open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("image_id", "uri", "deleted"))
            rows.writerows((n, self.pictures[n], "yes" if n in self.deleted else "") for n in self.listed)
        pictures = next(iter(self.pictures.values())).parent  # not below the manifest: they are allowed by name
        allowed = ["--set", f"fetch.allowed_roots=[{pictures}]"]
        assert nightly.main([str(self.manifest), "--warehouse", self.warehouse.root, *OPTIONS, *allowed, *options]) == 0
        self._remember()

    def between(self) -> None:
        due = [event for event in self.left if set(event[1:]) <= set(self.listed)]
        for event in due:
            self.left.remove(event)
            self._do(*event)

    def _do(self, verb: str, *images: str) -> None:
        where = ["--warehouse", self.warehouse.root]
        if verb == "forget":
            assert cli.main(["forget", "--image", images[0], *where, *OPTIONS]) == 0
            self._remember()
        elif verb == "tombstone":
            self.deleted.add(images[0])
        elif verb == "unlisted":
            self.listed.remove(images[0])
        else:
            first, *second = images
            assert cli.main(["decide", *where, "--author", "ann", first, verb, *second]) == 0

    def _remember(self) -> None:
        self.past[self.warehouse.last_sequence(GROUPS)] = grouped(self.warehouse)


def measured(warehouse: Warehouse) -> list[str]:
    return sorted(map(repr, warehouse.read(PAIRS).collect()))


@pytest.fixture(scope="module")
def first() -> dict[str, object]:
    """The outcome of the first schedule, which all others must have."""
    return {}


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("shuffle", "nights"), SCHEDULES)
@pytest.mark.long
def test_any_order_and_size_of_nights(spark, pictures, tmp_path, first, shuffle, nights):
    order = sorted(pictures)
    random.Random(shuffle).shuffle(order)  # noqa: S311
    history = History(spark, tmp_path, pictures)
    for k in range(nights):
        history.night(order[k * len(order) // nights : (k + 1) * len(order) // nights])
        history.between()
    history.night([], "--listing")  # what was said after the last night, and what is listed no more
    warehouse = history.warehouse
    assert not history.left
    for sequence, state in history.past.items():
        assert replayed(warehouse, sequence) == state
    assert sizes_by_events(warehouse) == sizes_now(warehouse)
    outcome = {"pairs": measured(warehouse), "groups": facts(warehouse), "parts": parts(warehouse)}
    if not first:
        first.update(outcome)
        _as_told(grouped(warehouse))
    assert outcome == first


def _as_told(groups: dict[str, tuple[str, bool]]) -> None:
    """The verdicts and removals stand in the groups."""
    assert not {"coffee", "rocket half", "ihc twin", "broken"} & set(groups)
    assert groups["chelsea"][0] != groups.get("chelsea half", (None,))[0]
    assert groups["camera"][0] == groups["moon"][0]
    assert groups["astronaut q60"][1]
    assert groups["coffee half"][0] == groups["coffee q60"][0]
