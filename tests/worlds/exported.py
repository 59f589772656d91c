"""A warehouse with groups of all sorts, and real pictures at their paths."""

from __future__ import annotations

import io
import uuid
from dataclasses import replace
from pathlib import Path

from grouped_lake import Member, copy, keeper
from PIL import Image

from dupelake.cli import main


def picture(number: int, form: str = "PNG") -> bytes:
    """A small picture; equal numbers and forms give equal bytes."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (number * 40 % 256, number * 90 % 256, 30)).save(buffer, form)
    return buffer.getvalue()


def members_in(folder: Path) -> list[Member]:
    """Images of which `VERIFIED` and `IDENTICAL` say what may go."""

    def at(name: str) -> str:
        return str(folder / name)

    both = {"tier": "verified", "file_id": "inode:1"}
    return [
        keeper("k1", at("one/a.png"), picture(1), "g1"),
        copy("c1", at("two/a.png"), picture(1), "g1"),
        copy("v1", at("two/=HYPERLINK(1).jpg"), picture(1, "JPEG"), "g1", "verified", score=0.97),
        copy("n1", at("two/cut.jpg"), picture(2, "JPEG"), "g1", "copies", score=0.9, is_removable=False),
        Member("alt1", at("two/caption, 'x'.png"), picture(3), "g1", "alternate", score=0.8),
        keeper("k2", at("one/b.png"), picture(4), "g2"),
        copy("c2", at("two/b.jpg"), picture(4, "JPEG"), "g2", **{**both, "tier": "identical"}),
        copy("v2", at("two/b link.jpg"), picture(4, "JPEG"), "g2", **both),
        keeper("k3", at("one/c.png"), picture(5), "g3", scope="ana"),
        copy("c3", at("shared.png"), picture(5), "g3", scope="ana"),
        keeper("k4", at("one/d.png"), picture(5), "g4", scope="bob"),
        copy("c4", at("shared.png"), picture(5), "g4", scope="bob"),
        Member("s1", at("single.png"), picture(6)),
        Member("f1", at("broken.png"), None),
        Member("d1", at("deleted.png"), picture(7), is_deleted=True),
    ]


def with_columns(members: list[Member], shard: str) -> list[Member]:
    """The same images of a manifest that names a shard, the key in it, and an asset of immich for each."""

    def columns(name: str) -> dict[str, str]:
        return {"shard": shard, "key": name, "asset": str(uuid.uuid5(uuid.NAMESPACE_OID, name))}

    return [replace(one, extra=columns(one.image_id)) for one in members]


IDENTICAL = {"c1", "c3", "c4"}  # c2 is a name of a file whose other name is only verified
VERIFIED = IDENTICAL | {"v1", "c2", "v2"}


def export(form: str, lake: Path, out: Path, *more: str, code: int = 0) -> Path:
    """Run the command with this exit code; returns `out`."""
    assert main(["export", form, "--warehouse", str(lake), "--out", str(out), *more]) == code
    return out
