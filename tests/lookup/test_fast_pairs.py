"""`--profile fast` and stored pairs that keypoints or embeddings found; no Spark."""

from __future__ import annotations

from pathlib import Path

import pytest
from deltalake import write_deltalake
from made_lake import CONFIG, arrow, make_night
from pictures import SCENES, photograph
from serving import encoded

from dupelake.lookup.build import build_index
from dupelake.lookup.checker import Checker
from dupelake.lookup.manifest import FOLDER
from dupelake.lookup.versions import versions_of
from dupelake.warehouse.reader import Reader
from dupelake.warehouse.schema import PAIRS


@pytest.mark.parametrize(("found_by", "n_members"), [("words", 2), ("embedding", 2), ("pdq+words", 3)])
def test_the_profile_fast_uses_no_pair_that_only_keypoints_or_embeddings_found(tmp_path: Path, found_by, n_members):
    root = tmp_path / "dupes"
    make_night(root, {f"/photos/{name}": encoded(photograph(name)) for name in SCENES[:2]})
    stored = Reader(root).table("images", ["content_id", "uri"]).to_pylist()
    made = versions_of(CONFIG, None, None)
    versions = {name: made.get(name.removesuffix("_version")) for name in PAIRS.columns if name.endswith("_version")}
    src, dst = sorted(row["content_id"] for row in stored)
    said = {"src_id": src, "dst_id": dst, "score": 0.99, "is_duplicate": True, "kind": "crop", "found_by": found_by}
    kinds = {field.name: field.dataType.simpleString() for field in PAIRS.schema if not field.nullable}
    zeros = {name: {"string": "", "boolean": False}.get(kind, 0) for name, kind in kinds.items()}
    row = dict.fromkeys(PAIRS.columns) | zeros | said | versions
    write_deltalake(str(root / PAIRS.name), arrow(PAIRS, [row]), mode="append")
    make_night(root, {f"/photos/{SCENES[2]}": encoded(photograph(SCENES[2]))}, 2)
    build_index(str(root), root / FOLDER)
    copy = encoded(photograph(SCENES[0], 250), "JPEG", quality=80)
    for profile, wanted in ((None, 3), ("fast", n_members)):
        with Checker(root / FOLDER, profile=profile) as checker:
            group = checker.check(copy).group
        assert group is not None
        assert len(group.members) == wanted, profile
