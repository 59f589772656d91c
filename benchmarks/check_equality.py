"""A check's answers beside the night that takes the images in: 1,200 stored photographs, 500 questions, every value.

    .venv/bin/python -m benchmarks.check_equality --data ../shared/data --work DIR [--steps first,say]

`first` takes the stored images in by a night. `say` adds verdicts and forgets some images, which makes the index. `ask`
makes the questions and checks each alone. `second` takes all questions in by one night. `compare` compares the answers
with the tables. The nights are processes of their own, so that each step can be run again alone.

A check is about its image alone. So no two questions are copies of one stored picture, and a question that the check
itself calls a copy of an earlier question is left out. Where a night still connects two questions, their groups are
counted apart, and pairs of two questions are not compared: a check of one image cannot know the other.
"""

from __future__ import annotations

import argparse
import csv
import io
import pickle
import shutil
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.edits.registry import apply_edit, grid
from PIL import Image

from dupelake.lookup.answer import FAILED, Answer
from dupelake.lookup.checker import check_files, index_folder
from dupelake.warehouse.reader import Reader
from dupelake.warehouse.schema import GROUPS, HASHES, IMAGES, PAIRS

JOBS = Path(__file__).resolve().parents[1] / "jobs"
SETS = ("imagenet_sample", "clothing_small", "lookalikes", "polyu", "images4", "imagededup", "hydrus", "pdq")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
SCOPES = ("shop-1", "shop-2")
N_STORED, N_ASKED, N_FORGOTTEN, N_VERDICTS = 1200, 500, 6, 8
KINDS = {"edit": 400, "stranger": 130, "bytes": 30, "pixels": 20, "broken": 15, "flat": 5}  # made; N_ASKED are asked
OFTEN = (("mirror", 1.0), ("mirror_crop", 0.5), ("crop", 0.5), ("caption_over", 0.2), ("sticker", 0.1)) * 8
SAME_GROUP = [name for name in GROUPS.columns if name not in ("group_id", "updated_at")]
SAME_IMAGE = ("image_id", "content_id", "scope", "status", "reason")
Row = dict[str, Any]
Key = tuple[str, str]


@dataclass(frozen=True)
class Question:
    """One image to check.

    Attributes:
        path: its file.
        scope: in which it is checked.
        kind: of KINDS.
        made: the edit, or the kind.
    """

    path: Path
    scope: str
    kind: str
    made: str


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", default="first,say,ask,second,compare")
    args = parser.parse_args(argv)
    for step in args.steps.split(","):
        start = time.perf_counter()
        found = STEPS[step](args.data, args.work)
        print(f"{step}: {time.perf_counter() - start:.0f} s", flush=True)
        if found:
            return found
    return 0


def photographs(data: Path) -> list[Path]:
    """All files of SETS, in a random order that is always the same."""
    found = [p for name in SETS for p in sorted((data / name).rglob("*")) if p.suffix.lower() in SUFFIXES]
    return [found[i] for i in np.random.default_rng(1).permutation(len(found))]


def copied(path: Path, data: Path, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copyfile(path, folder / "__".join(path.relative_to(data).parts)))


def job(name: str, work: Path, *arguments: str) -> None:
    command = [sys.executable, str(JOBS / f"{name}.py"), *arguments, "--warehouse", str(work / "warehouse")]
    command += ["--set", "run.planted_images=0", "--set", "run.checked_images=0", "--set", "check.index=true"]
    with (work / f"{name}.log").open("ab") as log:
        subprocess.run(command, stdout=log, stderr=log, check=True)


def write_manifest(path: Path, files: Iterable[tuple[Path, str]]) -> str:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("uri", "scope", "partition"))
        writer.writerows((str(uri), scope, "2026-11-01") for uri, scope in files)
    return str(path)


def first(data: Path, work: Path) -> int:
    """The stored images, taken in by a night."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    rng = np.random.default_rng(2)
    files = [copied(path, data, work / "stored") for path in photographs(data)[:N_STORED]]
    stored = [(path, SCOPES[int(rng.random() < 0.2)]) for path in files]
    job("nightly", work, write_manifest(work / "stored.csv", stored))
    return 0


def say(data: Path, work: Path) -> int:
    """Verdicts on some groups, and a few images that are forgotten; this makes the index."""
    groups = defaultdict(list)
    for row in rows_of(work, "groups", GROUPS.columns):
        groups[row["group_id"]].append(row)
    with (work / "verdicts.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("image_id", "verdict", "other_image_id"))
        for at, group_id in enumerate(sorted(groups)[:N_VERDICTS]):
            other = next(row["image_id"] for row in groups[group_id] if not row["is_keeper"])
            keeper = next(row["image_id"] for row in groups[group_id] if row["is_keeper"])
            writer.writerow((other, "keeper", "") if at % 2 else (keeper, "not_duplicate", other))
    code = "import sys; from dupelake.cli import main; sys.exit(main(sys.argv[1:]))"
    decide = [
        "decide",
        "--author",
        "bench",
        "--csv",
        str(work / "verdicts.csv"),
        "--warehouse",
        str(work / "warehouse"),
    ]
    subprocess.run([sys.executable, "-c", code, *decide], check=True)
    live = sorted(row["uri"] for row in rows_of(work, "images", ("uri", "status")) if row["status"] == "ok")
    gone = [part for uri in live[:: len(live) // N_FORGOTTEN][:N_FORGOTTEN] for part in ("--uri", uri)]
    job("forget", work, *gone)
    print(f"{len(live)} images stored, {len(groups)} groups; {N_VERDICTS} verdicts, {N_FORGOTTEN} forgotten")
    return 0


def rows_of(work: Path, name: str, columns: Sequence[str]) -> list[Row]:
    return list(Reader(work / "warehouse").rows(name, list(columns)).to_pylist())


class Components:
    """Contents that accepted pairs and equal pixels connect."""

    def __init__(self, work: Path) -> None:
        self._parent: dict[str, str] = {}
        first_of: dict[str, str] = {}
        for row in rows_of(work, "hashes", ("content_id", "pixel_digest")):
            self._join(row["content_id"], first_of.setdefault(row["pixel_digest"], row["content_id"]))
        for row in rows_of(work, "pairs", ("src_id", "dst_id", "is_duplicate")):
            if row["is_duplicate"]:
                self._join(row["src_id"], row["dst_id"])

    def root(self, content_id: str) -> str:
        """The content that names the component."""
        while (above := self._parent.setdefault(content_id, content_id)) != content_id:
            content_id = above
        return content_id

    def _join(self, a: str, b: str) -> None:
        low, high = sorted((self.root(a), self.root(b)))
        self._parent[high] = low


def questions(data: Path, work: Path) -> list[Question]:
    """More of each kind than are asked, each of another stored picture, in a random order."""
    rng, folder = np.random.default_rng(3), work / "asked"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    components, taken, sources = Components(work), set(), []
    for row in rows_of(work, "images", ("uri", "content_id", "scope", "status")):
        root = components.root(row["content_id"]) if row["status"] == "ok" else None
        if root is not None and root not in taken:
            taken.add(root)
            sources.append((Path(row["uri"]), row["scope"]))
    rng.shuffle(sources)
    edits = [*grid(), *OFTEN]
    out: list[Question] = []
    for number in range(KINDS["edit"]):
        path, scope = sources.pop()
        edit, strength = edits[number % len(edits)]
        with Image.open(path) as image:
            rgb = np.asarray(image.convert("RGB"))
        edited = apply_edit(rgb, edit, strength, number)
        new = folder / f"{number:03d} {edit} {strength:g}.{edited.format.lower()}"
        new.write_bytes(edited.data)
        # one in eight is asked in the other scope, which must not know the original
        asked = scope if number % 8 else SCOPES[1 - SCOPES.index(scope)]
        out.append(Question(new, asked, "edit", f"{edit} {strength:g}"))
    for path in photographs(data)[N_STORED : N_STORED + KINDS["stranger"]]:
        scope = SCOPES[int(rng.random() < 0.2)]
        out.append(Question(copied(path, data, folder), scope, "stranger", "stranger"))
    for number in range(KINDS["bytes"]):
        path, scope = sources.pop()
        asked = scope if number % 3 else SCOPES[1 - SCOPES.index(scope)]
        out.append(Question(Path(shutil.copyfile(path, folder / f"bytes {path.name}")), asked, "bytes", "equal bytes"))
    while len(out) < sum(KINDS[kind] for kind in ("edit", "stranger", "bytes", "pixels")):
        path, scope = sources.pop()
        new = folder / f"pixels {path.name}"
        if path.suffix.lower() in (".jpg", ".jpeg"):
            data_of = path.read_bytes()  # a comment after the first marker changes the bytes and no pixel
            new.write_bytes(data_of[:2] + b"\xff\xfe\x00\x08dupes!" + data_of[2:])
            out.append(Question(new, scope, "pixels", "equal pixels"))
    out += [*broken(folder, [path for path, _ in sources]), *flat(folder)]
    return [out[i] for i in rng.permutation(len(out))]


def broken(folder: Path, paths: Sequence[Path]) -> list[Question]:
    """Files that no night can read."""
    made = []
    for number in range(KINDS["broken"]):
        data = paths[number % len(paths)].read_bytes()
        kinds = (data[: len(data) // 3], b"", b"no image", data[100:], data[:60], b"\x89PNG\r\n\x1a\n" + data)
        path = folder / f"broken {number}.jpg"
        # the first bytes differ, so that no two are copies of each other; an empty file is made once
        path.write_bytes(kinds[number % 6] if number % 6 != 2 else b"no image %d" % number)
        made.append(Question(path, SCOPES[0], "broken", "broken"))
    return made


def flat(folder: Path) -> list[Question]:
    """Pictures of one colour: only equal bytes or pixels are compared."""
    made = []
    for number in range(KINDS["flat"]):
        buffer = io.BytesIO()
        Image.new("RGB", (200 + number, 150), (40 * number, 90, 30)).save(buffer, "PNG")
        path = folder / f"flat {number}.png"
        path.write_bytes(buffer.getvalue())
        made.append(Question(path, SCOPES[0], "flat", "flat"))
    return made


def ask(data: Path, work: Path) -> int:
    """Check every question alone, and keep N_ASKED that are no copies of earlier ones."""
    made = questions(data, work)
    index = index_folder(str(work / "warehouse"), None)
    answers: dict[Path, Answer] = {}
    for scope in SCOPES:
        paths = [str(one.path) for one in made if one.scope == scope]
        answers |= {Path(answer.image): answer for answer in check_files(paths, index, scope, 1)}
    alone = [one for one in made if not answers[one.path].in_folder]
    contents = Counter(answers[one.path].content_id for one in alone)  # two scopes may ask about one content
    alone = [one for one in alone if contents[answers[one.path].content_id] == 1 or one.kind == "broken"]
    rare = [one for one in alone if one.kind not in ("edit", "stranger")]
    often = [one for one in alone if one.kind in ("edit", "stranger")]
    chosen = [*rare, *often][:N_ASKED]
    before = {(row["src_id"], row["dst_id"]) for row in rows_of(work, "pairs", ("src_id", "dst_id"))}
    groups = {row["group_id"] for row in rows_of(work, "groups", ("group_id",))}
    with (work / "answers.pickle").open("wb") as file:
        pickle.dump((chosen, {one.path: answers[one.path] for one in chosen}, before, groups), file)
    print(f"{len(made)} made, {len(alone)} of them no copies of others, {len(chosen)} asked: {dict(kinds(chosen))}")
    return 0


def kinds(some: Iterable[Question]) -> Counter[str]:
    return Counter(one.kind for one in some)


def second(data: Path, work: Path) -> int:
    """Take all questions in by one night."""
    chosen = answered(work)[0]
    job("nightly", work, write_manifest(work / "asked.csv", [(one.path, one.scope) for one in chosen]))
    return 0


def answered(work: Path) -> tuple[list[Question], dict[Path, Answer], set[Key], set[str]]:
    with (work / "answers.pickle").open("rb") as file:
        found: tuple[list[Question], dict[Path, Answer], set[Key], set[str]] = pickle.load(file)  # noqa: S301 - ours
    return found


class Comparison:
    """The tables after the night, and what differs from the answers."""

    def __init__(self, work: Path) -> None:
        self.chosen, self.answers, self.before, self.groups_before = answered(work)
        images = rows_of(work, "images", [n for n in IMAGES.columns if n not in ("extra", "marks")])
        self.images = {(row["uri"], row["scope"]): row for row in images}
        self.pairs = {(row["src_id"], row["dst_id"]): row for row in rows_of(work, "pairs", PAIRS.columns)}
        self.pairs_of: dict[str, set[Key]] = defaultdict(set)
        for key in self.pairs:
            for end in key:
                self.pairs_of[end].add(key)
        hashes = rows_of(work, "hashes", HASHES.columns)
        self.digest = {row["content_id"]: row["pixel_digest"] for row in hashes}
        self.classes: dict[str, set[str]] = defaultdict(set)
        for row in hashes:
            self.classes[row["pixel_digest"]].add(row["content_id"])
        self.groups = {row["image_id"]: row for row in rows_of(work, "groups", GROUPS.columns)}
        self.components = Components(work)
        self.asked = Counter(self.components.root(answer.content_id) for answer in self._read())
        asked = {str(one.path) for one in self.chosen}
        self.stored = {
            (self.digest[row["content_id"]], row["scope"])
            for row in images
            if row["uri"] not in asked and row["status"] == "ok" and row["deleted_at"] is None
        }
        self.counts: Counter[str] = Counter()
        self.differing: list[tuple[str, Question, Any, Any]] = []

    def _read(self) -> list[Any]:
        return [answer for answer in self.answers.values() if answer.status != FAILED]

    def run(self) -> None:
        """Compare all; fills `counts` and `differing`."""
        for one in self.chosen:
            answer = self.answers[one.path]
            stored = self.images[str(one.path), one.scope]
            self._same("image", one, {n: getattr(answer, n) for n in SAME_IMAGE if n != "status"},
                       {n: stored[n] for n in SAME_IMAGE if n != "status"})  # fmt: skip
            self._same("readable", one, answer.status != FAILED, stored["status"] == "ok")
            if answer.status == FAILED:
                self._same("message", one, answer.message, stored["error_message"])
                continue
            self._pairs(one, answer)
            self._group(one, answer)

    def _same(self, what: str, one: Question, found: Any, wanted: Any) -> None:
        self.counts[what] += 1
        if found != wanted:
            self.differing.append((what, one, found, wanted))

    def _pairs(self, one: Question, answer: Answer) -> None:
        found = {(pair.row["src_id"], pair.row["dst_id"]): pair.row for pair in answer.pairs}
        same = self.classes[self.digest[str(answer.content_id)]]
        near = {key for content in same for key in self.pairs_of[content]}
        of_two = {  # the other content has no stored image in this scope
            key
            for key in near - found.keys()
            for other in set(key) - same
            if (self.digest[other], one.scope) not in self.stored
        }
        self.counts["pairs of two questions"] += len(of_two)
        wanted = near - self.before - of_two
        for key in wanted | found.keys():
            self._same("pair", one, found.get(key), self.pairs.get(key))

    def _group(self, one: Question, answer: Answer) -> None:
        wanted = self.groups.get(answer.image_id)
        if self.asked[self.components.root(str(answer.content_id))] > 1:
            self.counts["groups with two questions"] += 1
            return
        self.counts["keeper"] += bool(wanted and wanted["is_keeper"])
        self._same("is in a group", one, answer.group is not None, wanted is not None)
        if wanted is None or answer.group is None:
            return
        self._same("group", one, answer.group.row, {name: wanted[name] for name in SAME_GROUP})
        members = [row for row in self.groups.values() if row["group_id"] == wanted["group_id"]]
        self._same("members", one, answer.group.members, tuple(sorted(row["image_id"] for row in members)))
        keeper = next(row["image_id"] for row in members if row["is_keeper"])
        self._same("keeper of the group", one, answer.group.keeper[0], keeper)
        stored = wanted["group_id"] if wanted["group_id"] in self.groups_before else None
        self._same("group id", one, answer.group.group_id, stored)


def compare(data: Path, work: Path) -> int:
    """Print what was compared and what differs."""
    held = Comparison(work)
    held.run()
    copies = [one for one in held.chosen if held.answers[one.path].group is not None]
    print(f"{len(held.chosen)} asked: {dict(kinds(held.chosen))}; {len(copies)} copies: {dict(kinds(copies))}")
    differing = Counter(what for what, *_ in held.differing)
    print("| what | compared | differing |\n|---|---|---|")
    for what, n in held.counts.items():
        print(f"| {what} | {n} | {differing[what]} |")
    for what, one, found, wanted in held.differing[:20]:
        print(f"{what}: {one.path.name} ({one.kind}, {one.scope})")
        if isinstance(found, dict) and isinstance(wanted, dict):
            for name in wanted:
                if found.get(name) != wanted[name]:
                    print(f"  {name}: check {found.get(name)}, night {wanted[name]}")
        else:
            print(f"  check {found}\n  night {wanted}")
    return 1 if held.differing else 0


STEPS = {"first": first, "say": say, "ask": ask, "second": second, "compare": compare}


if __name__ == "__main__":
    sys.exit(main())
