"""The ML engineer: a training set without copies, leakage and label conflicts.

From a fresh clone to a clean training set, on the sample photographs. It takes some minutes. In the clone, after
`make setup`:

    .venv/bin/python docs/ways/ml_engineer.py [FOLDER]

Everything is written below `training-output`, or the folder that is given.
"""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import dupelake
from dupelake.demo import NIGHTS, write_images

work = Path(sys.argv[1] if len(sys.argv) > 1 else "training-output").absolute()
warehouse = work / "warehouse"


def run(*words: object) -> None:
    """Run a command of dupelake; its log goes to a file."""
    with open(work / "log.txt", "a", encoding="utf-8") as log:
        subprocess.run([sys.executable, "-m", "dupelake.cli", *map(str, words)], check=True, stderr=log)


# ## A data set with labels
#
# A manifest is a table of images: CSV, JSON, Parquet or Delta. Columns that dupelake does not know are kept. Here each
# row has a label and a split. The images of the first day are for training, those of the second for tests; so copies of
# one photograph come into both. And one label is wrong.
truth = write_images(work / "images")
with open(truth, encoding="utf-8", newline="") as file:
    rows = [
        {
            "uri": f"images/{row['path']}",
            "label": row["group"],
            "split": "train" if NIGHTS[0] in row["path"] else "test",
        }
        for row in csv.DictReader(file)
    ]
wrong = next(row for row in rows if "coffee caption" in row["uri"])
wrong["label"] = "tea"
with open(work / "manifest.csv", "w", encoding="utf-8", newline="") as file:
    table = csv.DictWriter(file, ("uri", "label", "split"))
    table.writeheader()
    table.writerows(rows)

# ## Find the copies
#
# One run hashes, compares and groups the images.
run("run", work / "manifest.csv", "--warehouse", warehouse)

# ## Leakage: which pictures of the test set are in the training set?
#
# `overlap` counts shared pictures of sets: here the values of the column `split`. `shared.csv` lists the images.
run("overlap", "--warehouse", warehouse, "--by", "split", "--between", "train", "test", "--out", work / "leakage")
with open(work / "leakage" / "shared.csv", encoding="utf-8", newline="") as file:
    shared = list(csv.DictReader(file))
print(f"{len(shared)} images show a picture that both sets have")

# ## Label conflicts: one picture with two labels
run("overlap", "--warehouse", warehouse, "--conflicts", "label", "--out", work / "labels")
print((work / "labels" / "conflicts.csv").read_text(encoding="utf-8"))

# ## A clean training set
#
# `dupelake.open` reads the tables without Spark. An image of the training set stays if its picture is not in the test
# set, and if it is the best of the training set's images of its picture.
lake = dupelake.open(str(warehouse), "pandas")
images = lake.sql("""
    SELECT i.image_id, i.uri, i.extra['split'] AS split, i.extra['label'] AS label,
           coalesce(g.group_id, i.content_id) AS picture, coalesce(g.score_to_keeper, 1) AS score,
           coalesce(g.is_keeper, true) AS is_keeper
    FROM images i LEFT JOIN groups g ON g.image_id = i.image_id
    WHERE i.status = 'ok' AND i.deleted_at IS NULL
""")
tested = set(images.loc[images["split"] == "test", "picture"])
train = images[(images["split"] == "train") & ~images["picture"].isin(tested)]
best = train.sort_values(["is_keeper", "score", "image_id"], ascending=False).drop_duplicates("picture")
print(f"{(images['split'] == 'train').sum()} images to train on; {len(train)} without leakage; {len(best)} pictures")

# ## For other tools
#
# The same as columns for Hugging Face's `datasets`, and as the duplicates of imagededup, with those that stay.
# [Exports](../export.md) has more forms.
run("export", "datasets", "--warehouse", warehouse, "--out", work / "datasets.parquet")
names = ("--folder", work, "--members", "all")
run("export", "imagededup", "--warehouse", warehouse, "--out", work / "imagededup.json", *names)
duplicates = json.loads((work / "imagededup.json").read_text(encoding="utf-8"))
print(f"imagededup: {sum(map(bool, duplicates.values()))} of {len(duplicates)} files have a duplicate")
os.environ["HF_HUB_OFFLINE"] = "1"
from datasets import load_dataset  # noqa: E402 - after the variable

loaded = load_dataset("parquet", data_files=str(work / "datasets.parquet"), cache_dir=str(work / "cache"))["train"]
print(f"datasets: {len(loaded)} rows with the columns {', '.join(loaded.column_names)}")
