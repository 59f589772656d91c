#!/usr/bin/env bash
# The analyst: which images are the same, and which one do we keep?
#
# From a fresh clone to a list of files that may go, on the sample photographs. In the clone, after `make setup`:
#
#     bash docs/ways/analyst.sh
#
# It asks the warehouse of `make demo`, and makes that first where it is missing. `WORK` names another folder than
# `demo-output`. What the script writes goes to its subfolder `analyst`.
set -eu
export PATH="$PWD/.venv/bin:$PATH"
work=${WORK:-demo-output}
test -d "$work/warehouse" || dupelake demo --out "$work"
warehouse=$work/warehouse
out=$work/analyst
rm -rf "$out" && mkdir "$out"

# ## Look
#
# The report is one HTML file: totals, what could be freed, and the groups side by side, each image with its reason.
dupelake report --warehouse "$warehouse" --out "$out/report.html"

# ## Ask in SQL
#
# `dupelake.open` gives the tables and the [views](../reference/views.md) to DuckDB, pandas or Polars, without Spark.
# Here DuckDB asks for the largest groups, and for what each tier of copies would free.
python - "$warehouse" <<'END'
import sys

import duckdb

import dupelake

lake = dupelake.open(sys.argv[1])
duplicate_groups = lake.table("duplicate_groups")
print(duckdb.sql("""
    SELECT parse_filename(uri) AS file, relation, kind, round(score_to_keeper, 3) AS score, reason
    FROM duplicate_groups ORDER BY group_size DESC, keeper_uri, is_keeper DESC, uri LIMIT 10
"""))
print(duckdb.sql("""
    SELECT tier, count(*) AS images, sum(byte_size) AS bytes FROM duplicate_groups
    WHERE tier IS NOT NULL GROUP BY tier ORDER BY images
"""))
END

# With the command line of DuckDB, or in a Spark catalogue, `register` makes the same tables and views by name
# ([Questions in SQL](../sql.md)). For DuckDB it prints a script, for `duckdb dupes.db < dupes.sql`:
dupelake register --warehouse "$warehouse" --schema dupes --print duckdb > "$out/dupes.sql"
grep "dupes.*removable" "$out/dupes.sql"

# ## Why?
#
# Why are two images copies, or why are they not?
python - "$warehouse" <<'END'
import sys

import dupelake

lake = dupelake.open(sys.argv[1])
uris = {uri.rsplit("/", 1)[1]: uri for uri in lake.images(["uri"], where="status = 'ok'")["uri"].to_pylist()}
for one, other in (("camera original.png", "camera mirrored.jpg"), ("camera original.png", "coins original.png")):
    print(f"{one} and {other}: {lake.why(uris[one], uris[other])['answer'][0]}")
END

# ## Say what is wrong
#
# Verdicts of people go before everything that was measured; the next night applies them. Many pairs are judged faster in
# the browser (`dupelake review --serve`, [review](../review.md)).
brick="$PWD/$work/images/date=2026-11-01/brick original.png"
case $work in /*) brick="$work/images/date=2026-11-01/brick original.png" ;; esac
dupelake decide --warehouse "$warehouse" --author "${USER:-ana}" --note "our own photograph" "$brick" keeper

# ## What may go
#
# By default only files with equal bytes or equal pixels. The list has the image that is kept beside each, and what the
# removal frees.
dupelake export csv --warehouse "$warehouse" --out "$out/removable.csv"
cut -d, -f 1-4 "$out/removable.csv"

# dupelake never removes a file. This script moves the copies to a folder, after it has compared the bytes of both files
# with those that were read; the other one puts them back.
dupelake export quarantine --warehouse "$warehouse" --out "$out/quarantine.sh"
sh "$out/quarantine.sh" --dry-run
sh "$out/quarantine.sh"
find "$out/quarantine" -type f
sh "$out/quarantine-undo.sh"

# When you are sure, run `quarantine.sh` again, delete the folder, and tell dupelake that the files are gone
# ([removals](../removals.md)).
