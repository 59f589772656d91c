"""The same questions asked of the command line, of Python and over HTTP: all values of the answers must be equal.

    python -m benchmarks.check_ways --warehouse DIR --images DIR --work DIR --questions 500

It builds an index of the warehouse in the work folder. The questions are files in the work folder: edits of images of
the folder, others unchanged, and broken files. `dupelake check --json` and `dupelake.check` get their paths, the server
and `dupelake.check` their bytes. What is asked by its path has another image id than what is asked by its bytes. So
these two are compared without the id, and without the group where it depends on the id: equal bytes are stored, and the
first id in order is kept. `in_folder`, which only the command fills, is left out. Exits with 1 if any value differs.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.edits.registry import apply_edit, grid
from benchmarks.serve import Server
from PIL import Image

from dupelake.lookup.build import build_index
from dupelake.lookup.checker import Checker
from dupelake.lookup.reading import files_of

# ruff: noqa: S311 - what is random here guards nothing
Answers = list[dict[str, Any]]


def write_questions(images: str, folder: Path, n: int, rng: random.Random) -> list[Path]:
    """`n` files: of 20 one is broken, 4 are unchanged images, and 15 are edits in the order of the bench."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = sorted(files_of([images], ("jpg", "jpeg", "png")))
    rng.shuffle(paths)
    edits, out = grid(), []
    for number in range(n):
        source = Path(paths[number % len(paths)])
        if number % 20 == 0:
            out.append(folder / f"{number:04d} broken.jpg")
            out[-1].write_bytes(source.read_bytes()[: 50 * number + 60])
        elif number % 5 == 1:
            out.append(folder / f"{number:04d} {source.name}")
            out[-1].write_bytes(source.read_bytes())
        else:
            edit, strength = edits[number % len(edits)]
            with Image.open(source) as opened:
                picture = opened.convert("RGB")
            picture.thumbnail((640, 640))
            edited = apply_edit(np.asarray(picture), edit, strength, number)
            out.append(folder / f"{number:04d} {edit} {strength:g}.{edited.format.lower()}")
            out[-1].write_bytes(edited.data)
    return out


def by_command(warehouse: str, index: Path, paths: Sequence[Path], scope: str) -> Answers:
    """The lines of `dupelake check --json`, in the order of the paths."""
    command = [sys.executable, "-m", "dupelake.cli", "check", *map(str, paths), "--warehouse", warehouse, "--json"]
    done = subprocess.run([*command, "--index", str(index), "--scope", scope], capture_output=True, check=True)
    lines = {one["image"]: one for one in map(json.loads, done.stdout.splitlines())}
    return [lines[str(path)] for path in paths]


def by_python(index: Path, sources: Sequence[str | bytes], scope: str) -> Answers:
    """What `dupelake.check` gives, as plain values."""
    with Checker(index, scope) as checker:
        return [json.loads(json.dumps(checker.check(one).as_dict())) for one in sources]


def by_http(port: int, files: Sequence[bytes], scope: str) -> Answers:
    """What the server answers, one request after the other."""
    connection, out = http.client.HTTPConnection("127.0.0.1", port, timeout=120), []
    for data in files:
        boundary = uuid.uuid4().hex
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="q"\r\n\r\n'
        body = head.encode() + data + f"\r\n--{boundary}--\r\n".encode()
        kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        connection.request("POST", f"/check?scope={scope}", body, kind)
        out += json.loads(connection.getresponse().read())["answers"]
    return out


def plain(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer without the name of the image, what only some ways say, and the age of the index."""
    kept = {name: value for name, value in answer.items() if name not in ("image", "action", "in_folder")}
    return kept | {"index": {name: value for name, value in kept["index"].items() if name != "age_s"}}


def without_id(answer: dict[str, Any]) -> dict[str, Any]:
    """The same without what depends on the image's own id."""
    kept, group = plain(answer), answer["group"]
    if group and group["keeper"]["image_id"] == answer["image_id"]:
        kept["group"] = group | {"keeper": "the image"}
    return kept | {"image_id": None} | ({"group": None} if answer["is_stored"] else {})


def differing(
    first: Answers, second: Answers, of: Callable[[dict[str, Any]], dict[str, Any]]
) -> Iterator[tuple[int, dict[str, tuple[Any, Any]]]]:
    """The questions whose answers differ, with the fields that do."""
    for number, (one, other) in enumerate(zip(map(of, first), map(of, second), strict=True)):
        if one != other:
            names = one.keys() | other.keys()
            yield number, {n: (one.get(n), other.get(n)) for n in names if one.get(n) != other.get(n)}


def compare(answers: dict[str, Answers]) -> int:
    """Prints a table; returns the number of answers that differ."""
    pairs = (
        ("command", "python, paths", plain),
        ("http", "python, bytes", plain),
        ("python, paths", "python, bytes", without_id),
    )
    total = 0
    print("| ways | questions | answers that differ |\n|---|---|---|")
    for a, b, of in pairs:
        found = list(differing(answers[a], answers[b], of))
        total += len(found)
        print(f"| {a} and {b} | {len(answers[a])} | {len(found)} |")
        for number, fields in found[:5]:
            print(f"  question {number}: {json.dumps(fields)[:800]}")
    return total


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--warehouse", required=True)
    parser.add_argument("--images", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--questions", type=int, default=500)
    parser.add_argument("--scope", default="")
    args = parser.parse_args(argv)
    index = args.work.absolute() / "index"
    build_index(args.warehouse, index, full=True, told=print)
    paths = write_questions(args.images, args.work.absolute() / "questions", args.questions, random.Random(7))
    files, answers = [path.read_bytes() for path in paths], {}
    server = Server(args.warehouse, index, args.work / "serve.log")
    try:
        ways: dict[str, Callable[[], Answers]] = {
            "command": lambda: by_command(args.warehouse, index, paths, args.scope),
            "python, paths": lambda: by_python(index, [str(path) for path in paths], args.scope),
            "python, bytes": lambda: by_python(index, files, args.scope),
            "http": lambda: by_http(server.port, files, args.scope),
        }
        for way, asked in ways.items():
            start = time.perf_counter()
            answers[way] = asked()
            print(f"{way}: {time.perf_counter() - start:.0f} s", flush=True)
    finally:
        server.process.terminate()
        server.process.wait(120)
    print(f"{len(paths)} questions: {dict(Counter(one['status'] for one in answers['http']))}")
    print(f"pairs measured: {sum(len(one['pairs']) for one in answers['http'])}")
    return 1 if compare(answers) else 0


if __name__ == "__main__":
    sys.exit(main())
