"""Detection quality on real images: the nightly job over each set, pairs and groups against the truth.

    .venv/bin/python benchmarks/quality.py --data ../shared/data [--set decide.min_cosine=0.96 ...]

Prints Markdown tables: precision, recall, F1 by set, recall by kind of edit, and the pairs that are
wrong or missed. The truth files name families of pictures; what this script counts as a duplicate:

- every pair inside a group of the truth, except the variants listed in NOT_DUPLICATES (hydrus's own
  tests call a changed colour and a correction different; flat pictures show nothing);
- images4's folders euclidean, resample and rotate show one and the same photograph: one group;
- images4 custom/1 and custom/2 are two shots of one sky seconds apart: left out;
- byte-identical files are duplicates wherever they lie, also of what their twin is a duplicate of;
- imagededup's alpha_channel_image.png shows ukbench00120, which the truth file does not say;
- files that do not decode have no row in the truth;
- photographs of imagenet_sample and clothing_small are all different.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from dupelake.jobs import nightly
from dupelake.kernels.evaluation import Scores, group_pairs, recall_by_relation, score_pair_sets, unordered
from dupelake.runtime.session import build_session
from dupelake.schema import GROUPS, IMAGES, PAIRS
from dupelake.tables import Warehouse

SETS = ("exif_orientation", "polyu", "pdq", "imagededup", "images4", "hydrus", "imagenet_sample", "clothing_small")
FORUM = ("images4_euclidean", "images4_resample", "images4_rotate")
NOT_DUPLICATES = ("colour", "correction", "uniform-black.png", "uniform-green.png", "uniform-white.png")
LEFT_OUT_GROUPS = ("images4_custom",)

Pair = tuple[str, str]


@dataclass
class Truth:
    """Pairs of one set, by path relative to the data folder."""

    relation: dict[Pair, str] = field(default_factory=dict)
    ignore: set[Pair] = field(default_factory=set)


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def load_truth(data: Path, name: str) -> Truth:
    groups: dict[str, dict[str, str]] = {}
    for row in read_csv(data / "truth" / "small_sets_groups.csv"):
        if row["path"].startswith(name + "/") and row["variant"] not in NOT_DUPLICATES and row["group"] != "images4_proportions":
            group = "forum" if row["group"] in FORUM else row["group"]
            groups.setdefault(group, {})[row["path"]] = row["variant"]
    if name == "exif_orientation":
        for row in read_csv(data / "truth" / "exif_orientation_groups.csv"):
            groups.setdefault(row["group"], {})[row["path"]] = "orientation"
    if name == "polyu":
        for row in read_csv(data / "truth" / "polyu_pairs.csv"):
            groups.setdefault(row["group"], {})[row["path"]] = "noisy shot"
    if name == "imagededup":
        groups["ukbench00120"]["imagededup/tests/data/alpha_channel_image.png"] = "alpha"
    twins = load_twins(data, name)
    for members in groups.values():
        members |= {twin: variant for path, variant in list(members.items()) for twin in twins.get(path, ())}
    truth = Truth()
    for group, members in groups.items():
        for a, b in combinations(sorted(members), 2):
            if group in LEFT_OUT_GROUPS:
                truth.ignore.add((a, b))
            else:
                truth.relation[(a, b)] = edit_of(group, members[a], members[b])
    for path, others in twins.items():
        truth.relation |= {unordered(path, other): "exact" for other in others}
    return truth


def load_twins(data: Path, name: str) -> dict[str, list[str]]:
    """Path -> other paths of the set with the same bytes, of files that decode."""
    broken = {r["path"] for r in read_csv(data / "truth" / "format_corpus_decode.csv") if r["decodes_pillow13"] != "1"}
    classes: dict[str, list[str]] = {}
    for r in read_csv(data / "truth" / "exact_byte_duplicates.csv"):
        if r["path"].startswith(name + "/") and r["path"] not in broken:
            classes.setdefault(r["sha256_24"], []).append(r["path"])
    return {path: [other for other in paths if other != path] for paths in classes.values() for path in paths}


def edit_of(group: str, a: str, b: str) -> str:
    """The kind of edit between two variants, as far as their names tell."""
    names = {a, b}
    text = " ".join(sorted(names)).lower()
    for word, kind in (("dihedral", "turned or flipped"), ("flip", "mirrored"), ("rotat", "rotated"), ("180.jpg", "rotated"),
                       ("270.jpg", "rotated"), ("90.jpg", "rotated"), ("mode:", "colour mode"), ("gray", "grey")):
        if word in text:
            return kind
    return {"bridge": "filtered or resized", "visual_dupe": "recompressed or scaled"}.get(group, text if len(text) < 20 else "resized or re-encoded")


def found_pairs(warehouse: Warehouse, data: Path) -> tuple[set[Pair], set[Pair], dict[Pair, str]]:
    """Image pairs by accepted pairs, by groups, and the evidence of the former; driver-side, small sets only."""
    images = {r["image_id"]: (str(Path(r["uri"]).relative_to(data)), r["content_id"]) for r in
              warehouse.read(IMAGES).where("status = 'ok'").select("image_id", "uri", "content_id").collect()}
    by_content: dict[str, list[str]] = {}
    for path, content in images.values():
        by_content.setdefault(content, []).append(path)
    edges: set[Pair] = {unordered(a, b) for paths in by_content.values() for a, b in combinations(sorted(paths), 2)}
    evidence: dict[Pair, str] = {}
    for r in warehouse.read(PAIRS).where("is_duplicate").collect():
        for a in by_content.get(r["src_id"], ()):
            for b in by_content.get(r["dst_id"], ()):
                edges.add(unordered(a, b))
                evidence[unordered(a, b)] = (f"{r['kind']}: pHash {r['phash_bits']}/{r['phash_mirrored_bits']}, PDQ {r['pdq_bits']}/"
                                             f"{r['pdq_mirrored_bits']} (q {r['pdq_quality']}), cosine {r['cosine_similarity'] or 0:.3f}")
    groups = {images[r["image_id"]][0]: r["group_id"] for r in warehouse.read(GROUPS).select("image_id", "group_id").collect()}
    return edges, set(group_pairs(groups)), evidence


def line(name: str, what: str, s: Scores) -> str:
    return f"| {name} | {what} | {s.n_true} | {s.n_found} | {s.n_hit} | {s.precision:.3f} | {s.recall:.3f} | {s.f1:.3f} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--sets", nargs="*", default=SETS)
    parser.add_argument("--set", action="append", default=[], dest="options")
    parser.add_argument("--keep", type=Path, help="keep the warehouses here")
    parser.add_argument("--show", type=int, default=12, help="wrong and missed pairs to list by set")
    args = parser.parse_args()
    data = args.data.resolve()
    options = [word for item in args.options for word in ("--set", item)]
    tables, details = [], []
    relations: dict[str, dict[str, Scores]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in args.sets:
            root = (args.keep or Path(folder)) / name
            if nightly.main([str(data / name), "--warehouse", str(root), *options]) != 0:
                return 1
            truth = load_truth(data, name)
            edges, grouped, evidence = found_pairs(Warehouse(build_session("quality"), str(root)), data)
            tables.append(line(name, "pairs", score_pair_sets(edges, truth.relation, truth.ignore)))
            tables.append(line(name, "groups", score_pair_sets(grouped, truth.relation, truth.ignore)))
            relations[name] = recall_by_relation(grouped, truth.relation)
            wrong = sorted((edges | grouped) - set(truth.relation) - truth.ignore)
            missed = sorted(set(truth.relation) - edges - grouped)
            details += [f"- {name}: {len(wrong)} wrong, {len(missed)} missed"]
            details += [f"  - wrong: {a} | {b} ({evidence.get((a, b), 'by group only')})" for a, b in wrong[:args.show]]
            details += [f"  - missed ({truth.relation[(a, b)]}): {a} | {b}" for a, b in missed[:args.show]]
    print("\n| set | of | true | found | right | precision | recall | F1 |\n|---|---|---|---|---|---|---|---|")
    print("\n".join(tables))
    print("\n| set | edit | true pairs | recall (groups) |\n|---|---|---|---|")
    for name, rows in relations.items():
        print("\n".join(f"| {name} | {edit} | {s.n_true} | {s.recall:.3f} |" for edit, s in rows.items() if edit != "all"))
    print("\n" + "\n".join(details))
    return 0


if __name__ == "__main__":
    sys.exit(main())
