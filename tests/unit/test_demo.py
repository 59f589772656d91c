"""The demo's sample images: known edits of real photographs, two nights, a truth table that matches the files."""

from __future__ import annotations

import csv

from PIL import Image

from dupelake.demo import NIGHTS, PHOTOGRAPHS, write_images


def test_sample_images_and_their_truth(tmp_path):
    truth = write_images(tmp_path / "images")
    rows = list(csv.DictReader(truth.open(encoding="utf-8")))
    assert {r["group"] for r in rows} == {p.rsplit(".", 1)[0] for p in PHOTOGRAPHS}
    assert {r["path"].split("/")[0] for r in rows} == {f"date={night}" for night in NIGHTS}
    for row in rows:
        with Image.open(tmp_path / "images" / row["path"]) as image:
            image.load()
    assert len({r["edit"] for r in rows}) >= 8
    odd = {p.name for p in (tmp_path / "images").rglob("*") if p.is_file()} - {r["path"].split("/")[1] for r in rows}
    assert odd == {"truncated.png", "empty.jpg", "not an image.jpg"}
