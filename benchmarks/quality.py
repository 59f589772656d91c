"""Detection quality on real images: the nightly job over all sets, each in its scope, compared with the truth.

    .venv/bin/python benchmarks/quality.py --data ../shared/data [--set decide.min_score=0.9 ...]

It prints Markdown tables: precision, recall, F1 by set, recall by kind of edit, and the wrong and missed pairs. The
truth files name families of pictures. This script counts as duplicates:

- every pair inside a group of the truth, except the variants listed in NOT_DUPLICATES (flat pictures show nothing);
- a changed colour and a correction, which hydrus's own tests do not call duplicates, must be alternates: a pair with
  them is neither true nor wrong if it is found as edited or recoloured, and wrong if it is found as any other kind;
- polyu's regions of one photograph may overlap: pairs between them are left out;
- images4's folders euclidean, resample and rotate show the same photograph: they are one group;
- images4 custom/1 and custom/2 are two shots of one sky, and pdq's exif-rotn-1, 3, 6, 8 four shots of one table: they
  are left out;
- byte-identical files are duplicates in any folder, and also of all duplicates of each other;
- imagededup's alpha_channel_image.png shows ukbench00120, and ukbench09380.webp shows ukbench09380, which the truth
  file does not say;
- files that do not decode have no row in the truth;
- photographs of imagenet_sample and clothing_small are all different;
- of lookalikes every pair that its truth calls `dup` is true, `ambiguous` ones are left out, all others are different.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from benchmarks.pair_scores import group_pairs, recall_by_relation, score_pair_sets, unordered
from deltalake import DeltaTable

from dupelake.evaluate.scores import Scores

SETS = (
    *("exif_orientation", "polyu", "pdq", "imagededup", "images4", "hydrus", "imagenet_sample", "clothing_small"),
    "lookalikes",
)
LOOKALIKE_KINDS = {
    "Faces": "people",
    "Faces_easy": "people",
    "mirrored_squashed": "people",
    "Motorbikes": "motorbikes",
    "airplanes": "airliners",
    "stop_sign": "signs",
    "yin_yang": "signs",
    "dollar_bill": "banknotes",
    "garfield": "comics",
    "cartoon_elephant": "comics",
    "cartoon_house": "comics",
    "sketch_giraffe": "line_drawings",
    "sketch_guitar": "line_drawings",
    "sketch_horse": "line_drawings",
    "sketch_person": "line_drawings",
    "art_painting_giraffe": "paintings",
    "art_painting_horse": "paintings",
}
FORUM = ("images4_euclidean", "images4_resample", "images4_rotate")
ALTERNATES = ("colour", "correction")
ALTERNATE_KINDS = ("edited", "recoloured")
NOT_DUPLICATES = ("uniform-black.png", "uniform-green.png", "uniform-white.png")
LEFT_OUT_GROUPS = ("images4_custom", "exif-rotn")

EVIDENCE_FIRST = (
    "kind",
    "score",
    "found_by",
    "phash_bits",
    "pdq_bits",
    "pdq_quality",
    "cosine_similarity",
    "n_inliers",
)
NOT_EVIDENCE = (
    *("src_id", "dst_id", "is_duplicate", "difference_box", "hash_version", "verify_version", "model_id"),
    *("join_version", "decide_version"),
)

Pair = tuple[str, str]


@dataclass
class Truth:
    """Pairs of one set, by path relative to the data folder."""

    relation: dict[Pair, str] = field(default_factory=dict)
    ignore: set[Pair] = field(default_factory=set)
    alternate: set[Pair] = field(default_factory=set)


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def load_truth(data: Path, name: str) -> Truth:
    if name == "lookalikes":
        return load_lookalikes(data)
    groups: dict[str, dict[str, str]] = {}
    for row in read_csv(data / "truth" / "small_sets_groups.csv"):
        if (
            row["path"].startswith(name + "/")
            and row["variant"] not in NOT_DUPLICATES
            and row["group"] != "images4_proportions"
        ):
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
        formats = {
            f"imagededup/tests/data/{name}": "format"
            for name in ("base_images/ukbench09380.jpg", "formats_images/ukbench09380.webp")
        }
        groups["ukbench09380"] = formats
    twins = load_twins(data, name)
    for members in groups.values():
        members |= {twin: variant for path, variant in list(members.items()) for twin in twins.get(path, ())}
    truth = Truth()
    for group, members in groups.items():
        for a, b in combinations(sorted(members), 2):
            if group in LEFT_OUT_GROUPS:
                truth.ignore.add((a, b))
            elif members[a] in ALTERNATES or members[b] in ALTERNATES:
                truth.alternate.add((a, b))
            else:
                truth.relation[(a, b)] = edit_of(group, members[a], members[b])
    if name == "polyu":
        regions = sorted(path for members in groups.values() for path in members)
        of_one = [(a, b) for a, b in combinations(regions, 2) if photograph(a) == photograph(b)]
        truth.ignore |= set(of_one) - set(truth.relation)
    for path, others in twins.items():
        truth.relation |= {unordered(path, other): "exact" for other in others}
    return truth


def load_lookalikes(data: Path) -> Truth:
    truth = Truth()
    for row in read_csv(data / "truth" / "lookalikes_pairs.csv"):
        pair = unordered(row["path_a"], row["path_b"])
        if row["label"] == "dup":
            truth.relation[pair] = row["relation"]
        else:
            truth.ignore.add(pair)
    return truth


def photograph(path: str) -> str:
    """The photograph that a region of polyu was cropped from: its name without number and shot."""
    return Path(path).name.rsplit("_", 2)[0].rstrip("_")


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
    for word, kind in (
        ("dihedral", "turned or flipped"),
        ("flip", "mirrored"),
        ("rotat", "rotated"),
        ("180.jpg", "rotated"),
        ("270.jpg", "rotated"),
        ("90.jpg", "rotated"),
        ("mode:", "colour mode"),
        ("gray", "grey"),
    ):
        if word in text:
            return kind
    return {"bridge": "filtered or resized", "visual_dupe": "recompressed or scaled"}.get(
        group, text if len(text) < 20 else "resized or re-encoded"
    )


def write_manifest(data: Path, sets: Sequence[str], path: Path) -> None:
    """A CSV manifest of all files of the sets; the set is the scope, so pairs stay within a set."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["uri", "scope"])
        for name in sets:
            writer.writerows([str(p), name] for p in sorted((data / name).rglob("*")) if is_image(p))


def is_image(path: Path) -> bool:
    """Whether a file of the sets is one of the pictures (the rest are READMEs, tables, licences)."""
    return path.is_file() and path.suffix.lower() not in (".md", ".csv", ".txt", ".json", "")


def read_table(root: Path, name: str, columns: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Rows of a table through delta-rs, without Spark: the named columns that it has, or all."""
    delta = DeltaTable(str(root / name))
    there = [field.name for field in delta.schema().fields]
    return delta.to_pyarrow_table(columns=[c for c in there if c in columns or not columns]).to_pylist()


def evidence_text(row: Mapping[str, Any]) -> str:
    """All measures of a row of `pairs` as short text, including those of later versions."""
    values = {key: value for key, value in row.items() if value is not None and key not in NOT_EVIDENCE}
    order = sorted(values, key=lambda key: (EVIDENCE_FIRST.index(key) if key in EVIDENCE_FIRST else 99, key))
    return ", ".join(
        f"{key} {values[key]:.3g}" if isinstance(values[key], float) else f"{key} {values[key]}" for key in order
    )


@dataclass
class Found:
    """What a run found in one set, by path relative to the data folder.

    Attributes:
        edges: accepted pairs of images, those of equal pixels among them.
        grouped: pairs of images in one group.
        measured: rows of `pairs`, accepted or not, by pair of images.
        members: rows of `groups` by image.
    """

    edges: set[Pair] = field(default_factory=set)
    grouped: set[Pair] = field(default_factory=set)
    measured: dict[Pair, dict[str, Any]] = field(default_factory=dict)
    members: dict[str, dict[str, Any]] = field(default_factory=dict)

    def evidence(self, pair: Pair) -> str:
        """The row of a pair as text."""
        if pair in self.measured:
            return evidence_text(self.measured[pair])
        return "equal pixels" if pair in self.edges else "by group only" if pair in self.grouped else "not proposed"

    def kind(self, pair: Pair) -> str | None:
        """Kind of an accepted pair."""
        row = self.measured.get(pair)
        return row["kind"] if row and row["is_duplicate"] else None

    def wrong(self, truth: Truth) -> set[Pair]:
        """Pairs found, or in one group, that the truth does not have; alternates are right if found as alternates."""
        return (self.edges | self.grouped) - set(truth.relation) - self.ignored(truth)

    def ignored(self, truth: Truth) -> set[Pair]:
        """Pairs that are not scored."""
        said = {pair for pair in truth.alternate if self.kind(pair) in (None, *ALTERNATE_KINDS)}
        return truth.ignore | said


def load_found(root: Path, data: Path) -> dict[str, Found]:
    """Results of the tables under `root` by set, which is the first folder of an image's path below `data`."""
    digests = {r["content_id"]: r["pixel_digest"] for r in read_table(root, "hashes", ("content_id", "pixel_digest"))}
    vertices: dict[tuple[str, str], list[str]] = {}  # images of equal pixels are one vertex of a pair
    paths: dict[str, str] = {}
    for r in read_table(root, "images", ("image_id", "uri", "scope", "content_id", "status")):
        path = str(Path(r["uri"].removeprefix("file://")).resolve().relative_to(data.resolve()))
        paths[r["image_id"]] = path
        if r["status"] == "ok":
            vertices.setdefault((path.split("/", maxsplit=1)[0], digests[r["content_id"]]), []).append(path)
    found: dict[str, Found] = {name: Found() for name, _ in vertices}
    for (name, _), twins in vertices.items():
        found[name].edges |= {unordered(a, b) for a, b in combinations(twins, 2)}
    for r in read_table(root, "pairs"):
        for name, one in found.items():
            for a in vertices.get((name, digests[r["src_id"]]), ()):
                for b in vertices.get((name, digests[r["dst_id"]]), ()):
                    if a != b:
                        one.measured[unordered(a, b)] = r
                        if r["is_duplicate"]:
                            one.edges.add(unordered(a, b))
    for r in read_table(root, "groups"):
        path = paths[r["image_id"]]
        found[path.split("/")[0]].members[path] = r
    for one in found.values():
        one.grouped = set(group_pairs({path: r["group_id"] for path, r in one.members.items()}))
    return found


def line(name: str, what: str, s: Scores) -> str:
    return (
        f"| {name} | {what} | {s.n_true} | {s.n_found} | {s.n_hit} | {s.precision:.3f} | {s.recall:.3f} | {s.f1:.3f} |"
    )


def tell(data: Path, found: dict[str, Found], sets: Sequence[str], show: int) -> None:
    """Print the tables, and the wrong and missed pairs."""
    edits, details = [], []
    print("\n| set | of | true | found | right | precision | recall | F1 |\n|---|---|---|---|---|---|---|---|")
    for name in sets:
        truth, one = load_truth(data, name), found.get(name, Found())
        print(line(name, "pairs", score_pair_sets(one.edges, truth.relation, one.ignored(truth))))
        print(line(name, "groups", score_pair_sets(one.grouped, truth.relation, one.ignored(truth))))
        for edit, s in recall_by_relation(one.edges, truth.relation).items():
            if edit != "all":
                edits.append(f"| {name} | {edit} | {s.n_true} | {s.recall:.3f} |")
        wrong = sorted(one.wrong(truth))
        missed = sorted(set(truth.relation) - one.edges)
        details.append(f"- {name}: {len(wrong)} wrong, {len(missed)} missed")
        details += [f"  - wrong: {a} | {b} ({one.evidence((a, b))})" for a, b in wrong[:show]]
        details += [f"  - missed ({truth.relation[(a, b)]}): {a} | {b}" for a, b in missed[:show]]
    print("\n| set | edit | true pairs | recall (pairs) |\n|---|---|---|---|")
    print("\n".join([*edits, "", *details]))


def main() -> int:
    from dupelake.pipeline import nightly  # the edits bench uses this file without Spark

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--sets", nargs="*", default=SETS)
    parser.add_argument("--set", action="append", default=[], dest="options")
    parser.add_argument("--warehouse", type=Path, help="keep the tables here; a second run only decides again")
    parser.add_argument("--show", type=int, default=12, help="number of wrong and missed pairs to list for each set")
    args = parser.parse_args()
    data = args.data.resolve()
    options = ["--set", f"fetch.allowed_roots=['{data}']"]
    options += [word for item in args.options for word in ("--set", item)]
    with tempfile.TemporaryDirectory() as folder:
        root = args.warehouse or Path(folder) / "warehouse"
        write_manifest(data, args.sets, Path(folder) / "manifest.csv")
        code = nightly.main([str(Path(folder) / "manifest.csv"), "--warehouse", str(root), *options])
        if code == 0:
            tell(data, load_found(root, data), args.sets, args.show)
    return code


if __name__ == "__main__":
    sys.exit(main())
