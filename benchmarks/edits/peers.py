"""Other tools over the images of the edits bench, in an environment of their own (benchmarks/requirements-peers.txt).

    /tmp/peers-venv/bin/python benchmarks/edits/peers.py TOOL --images DIR --out DIR [--weights FILE]

Writes under OUT: pairs.csv (a, b, value), groups.csv (image, group) and meta.json (versions, settings, seconds).
Nothing here imports dupelake. What each tool does and with which setting:

- phash: imagehash.phash, Hamming distance at most 10 of 64, imagededup's default. Groups: connected components.
- pdq: pdqhash.compute, at most 31 of 256, both qualities at least 50, as ThreatExchange advises. Groups: the same.
- imagededup: CNN().find_duplicates, cosine at least .9, its default. Its own MobileNetV3 weights are downloaded at run
  time; where there is no network, --weights names ImageNet weights of timm's mobilenetv2_100 that go through
  imagededup's own CustomModel door, with imagededup's code for everything else. Groups: connected components.
- imagededup-phash: PHash().find_duplicates at most 10 of 64, its default. Groups: the same.
- fastdup: fastdup.create().run() with all defaults and the model in its package: the two nearest neighbours of each
  image where similarity is at least .9 are its pairs; groups are its own connected components (at .96).
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

PHASH_MAX_BITS = 10
PDQ_MAX_BITS, PDQ_MIN_QUALITY = 31, 50
MIN_COSINE = 0.9


def load(path):
    """Upright RGB."""
    with Image.open(path) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def files_of(folder):
    return sorted(p for p in Path(folder).iterdir() if p.is_file())


def close_pairs(bits, max_bits, ok):
    """(i, j, distance) of all rows of a 0/1 matrix within `max_bits`, both `ok`, by brute force in blocks."""
    signs = bits.astype(np.float32) * 2 - 1
    n_bits = bits.shape[1]
    for start in range(0, len(bits), 512):
        distance = (n_bits - signs[start : start + 512] @ signs.T) / 2
        for i, j in zip(*np.nonzero(distance <= max_bits + 0.25), strict=True):
            if start + i < j and ok[start + i] and ok[j]:
                yield start + i, j, round(float(distance[i, j]))


def run_phash(files, args):
    import imagehash

    bits = np.array([imagehash.phash(load(p)).hash.ravel() for p in files])
    found = close_pairs(bits, PHASH_MAX_BITS, np.ones(len(files), bool))
    return [(files[i].name, files[j].name, d) for i, j, d in found], None, {"max_bits": PHASH_MAX_BITS}


def run_pdq(files, args):
    import pdqhash

    computed = [pdqhash.compute(np.array(load(p))) for p in files]
    bits = np.array([vector for vector, _ in computed])
    quality = np.array([quality for _, quality in computed])
    found = close_pairs(bits, PDQ_MAX_BITS, quality >= PDQ_MIN_QUALITY)
    settings = {"max_bits": PDQ_MAX_BITS, "min_quality": PDQ_MIN_QUALITY}
    return [(files[i].name, files[j].name, d) for i, j, d in found], None, settings


def run_imagededup(files, args):
    from imagededup.methods import CNN

    settings = {"min_cosine": MIN_COSINE, "model": "mobilenet_v3_small, imagededup's own weights"}
    try:
        cnn = CNN(verbose=False)
    except Exception as error:  # whatever its download raises
        if not args.weights:
            raise SystemExit(f"imagededup cannot load its own weights ({error}); give others with --weights") from error
        cnn = CNN(verbose=False, model_config=custom_model(args.weights))
        settings["model"] = f"timm mobilenetv2_100 by CustomModel, weights {Path(args.weights).name}"
        settings["own_weights"] = f"could not be had: {type(error).__name__}: {error}"[:300]
    encoding = cnn.encode_images(image_dir=Path(args.images))
    duplicates = cnn.find_duplicates(encoding_map=encoding, min_similarity_threshold=MIN_COSINE, scores=True)
    pairs = {(min(a, b), max(a, b)): float(score) for a, found in duplicates.items() for b, score in found if a != b}
    settings["encoded"] = len(encoding)
    return [(a, b, round(value, 4)) for (a, b), value in sorted(pairs.items())], None, settings


def run_imagededup_phash(files, args):
    from imagededup.methods import PHash

    hasher = PHash(verbose=False)
    encoding = hasher.encode_images(image_dir=Path(args.images))
    duplicates = hasher.find_duplicates(encoding_map=encoding, max_distance_threshold=PHASH_MAX_BITS, scores=True)
    pairs = {(min(a, b), max(a, b)): int(bits) for a, found in duplicates.items() for b, bits in found if a != b}
    return [(a, b, bits) for (a, b), bits in sorted(pairs.items())], None, {"max_bits": PHASH_MAX_BITS}


def custom_model(weights):
    """The shared ImageNet weights as imagededup's CustomModel: 1,280 values a picture, squashed to 224 x 224 px."""
    import timm
    from imagededup.utils import CustomModel
    from torchvision.transforms import transforms

    half = (0.5, 0.5, 0.5)
    overlay = {"file": weights, "mean": half, "std": half}
    model = timm.create_model(
        "mobilenetv2_100", pretrained=True, num_classes=0, pad_type="same", pretrained_cfg_overlay=overlay
    ).eval()
    steps = [transforms.Resize((224, 224)), transforms.ToTensor(), transforms.Normalize(half, half)]
    return CustomModel(name="timm_mobilenetv2_100", model=model, transform=transforms.Compose(steps))


def run_fastdup(files, args):
    os.environ["SENTRY_OPT_OUT"] = "True"  # it reports its use to its makers unless told not to
    import fastdup

    work = Path(args.out) / "fastdup"
    fd = fastdup.create(work_dir=str(work), input_dir=str(args.images))
    fd.run(overwrite=True)
    similarity = fd.similarity()
    pairs = {}
    for a, b, value in zip(similarity["filename_from"], similarity["filename_to"], similarity["distance"], strict=True):
        first, second = sorted((Path(a).name, Path(b).name))
        if first != second:
            pairs[(first, second)] = round(float(value), 4)
    components, _ = fd.connected_components()
    groups = {Path(f).name: str(c) for f, c in zip(components["filename"], components["component_id"], strict=True)}
    invalid = fd.invalid_instances()
    settings = {"defaults": "threshold .9, cc_threshold .96, nearest_neighbors_k 2", "invalid": len(invalid)}
    return [(a, b, v) for (a, b), v in sorted(pairs.items())], groups, settings


def components_of(pairs):
    """Image to the smallest name of its connected component."""
    parent = {}

    def root(x):
        parent.setdefault(x, x)
        while parent[x] != x:
            parent[x] = parent[parent[x]]
            x = parent[x]
        return x

    for a, b, _ in pairs:
        first, second = sorted((root(a), root(b)))
        parent[second] = first
    return {x: root(x) for x in parent}


TOOLS = {
    "phash": (run_phash, ("imagehash",)),
    "pdq": (run_pdq, ("pdqhash",)),
    "imagededup": (run_imagededup, ("imagededup", "torch")),
    "imagededup-phash": (run_imagededup_phash, ("imagededup",)),
    "fastdup": (run_fastdup, ("fastdup",)),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tool", choices=TOOLS)
    parser.add_argument("--images", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--weights", default="")
    args = parser.parse_args()
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    run, packages = TOOLS[args.tool]
    files = files_of(args.images)
    start = time.perf_counter()
    pairs, groups, settings = run(files, args)
    seconds = time.perf_counter() - start
    groups = components_of(pairs) if groups is None else groups
    with (out / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["a", "b", "value"])
        writer.writerows(pairs)
    with (out / "groups.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "group"])
        writer.writerows(sorted(groups.items()))
    meta = {"tool": args.tool, "versions": {p: version(p) for p in packages}, "settings": settings}
    meta |= {"images": len(files), "pairs": len(pairs), "seconds": round(seconds, 1)}
    (out / "meta.json").write_text(json.dumps(meta, indent=1), encoding="utf-8")
    print(json.dumps(meta))


if __name__ == "__main__":
    main()
