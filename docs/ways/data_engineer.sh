#!/usr/bin/env bash
# The data engineer: a nightly run
#
# From a fresh clone to two nights, with a broken file among the images: what a run prints, what it leaves for
# monitoring, and what to do about failures. It takes some minutes. In the clone, after `make setup`:
#
#     bash docs/ways/data_engineer.sh
#
# Everything is written below `nightly-output`, or the folder that `WORK` names.
set -eu
export PATH="$PWD/.venv/bin:$PATH"
work=${WORK:-nightly-output}
mkdir -p "$work"

# ## Images that come in partitions
#
# The sample photographs lie in two folders, `date=2026-11-01` and `date=2026-11-02`. In the second are three files that
# are no images.
python -c 'import sys, pathlib; from dupelake.demo import write_images; write_images(pathlib.Path(sys.argv[1]))' \
  "$work/images"
ls "$work"/images/*

# ## A configuration
#
# Options that you change stand in a file of your own. Here a run also writes events and metrics, and updates the index
# of `dupelake check`. [Options](../reference/options.md) has all.
cat > "$work/nightly.yaml" <<END
run:
  event_log: $work/events.jsonl
  metrics_file: $work/dupelake.prom
check:
  index: true
END

night() {
  dupelake run "$work/images" --warehouse "$work/warehouse" --config "$work/nightly.yaml" "$@"
}

# ## The first night
#
# `plan` says what the next run would do, and writes nothing. The run itself ends with a report on stdout; the log goes
# to stderr. From cron, both go into one file ([operations](../operations.md#every-night)).
dupelake plan "$work/images" --warehouse "$work/warehouse" --partitions 2026-11-01 2>> "$work/plan.log"
night --partitions 2026-11-01 2>> "$work/nightly.log"

# ## The second night, with broken files
#
# Three files cannot be read. They become rows with a reason, and the run goes on. Its exit code is 0, because fewer than
# half of the images failed (`run.max_failed_fraction`). [Exit codes](../reference/exit_codes.md) has the others.
night --partitions 2026-11-02 2>> "$work/nightly.log"
grep -h "images failed" "$work/nightly.log"
python - "$work/warehouse" <<'END'
import sys

import dupelake

lake = dupelake.open(sys.argv[1], "pandas")
print(lake.table("failures")[["reason", "error_message", "attempts"]].to_string(index=False))
nights = lake.sql("SELECT status, hashed, failed, copies, removable, seconds FROM nightly ORDER BY started_at")
print(nights.to_string(index=False))
END

# Repair the file, and run again: it is read, because its size and time have changed. An ordinary night has nothing else to do.
cp "$work/images/date=2026-11-01/astronaut original.png" "$work/images/date=2026-11-02/truncated.png"
night 2>> "$work/nightly.log"

# ## What monitoring gets
#
# One JSON object for each event, and a file for Prometheus' node_exporter
# ([events and metrics](../reference/events.md)).
grep run_finished "$work/events.jsonl" | cut -c 1-200
grep -E "dupelake_run_(success|exit_code|failed_images)" "$work/dupelake.prom"

# ## Once a week
#
# `maintain` compacts small files and drops old versions of the tables.
dupelake maintain --warehouse "$work/warehouse" 2>> "$work/nightly.log"

# ## Show it to people
#
# One HTML file, which needs no server and no network.
dupelake report --warehouse "$work/warehouse" --out "$work/report.html"
