#!/usr/bin/env bash
# Have we seen this image before?
#
# From a fresh clone to a check on the command line, in a hook of git, and over HTTP, on the sample photographs. In the
# clone, after `make setup`:
#
#     bash docs/ways/seen_before.sh
#
# It asks the warehouse of `make demo`, and makes that first where it is missing. `WORK` names another folder than
# `demo-output`. What the script writes goes to its subfolder `seen`.
set -eu
export PATH="$PWD/.venv/bin:$PATH"
work=$(mkdir -p "${WORK:-demo-output}" && cd "${WORK:-demo-output}" && pwd)
test -d "$work/warehouse" || dupelake demo --out "$work"
warehouse=$work/warehouse
out=$work/seen
rm -rf "$out" && mkdir "$out"

# ## Two images that somebody sends
#
# One is a part of a photograph that is known, smaller and saved again. The other is new: another camera took the same
# motorcycle from beside.
python - "$work/images" "$out" <<'END'
import sys
from pathlib import Path

import skimage
from PIL import Image

images, out = map(Path, sys.argv[1:])
with Image.open(images / "date=2026-11-01" / "coffee original.png") as known:
    known.crop((90, 60, 540, 360)).resize((300, 200)).save(out / "known.jpg", quality=80)
with Image.open(Path(skimage.__file__).parent / "data" / "motorcycle_right.png") as new:
    new.convert("RGB").save(out / "new.jpg", quality=90)
END

# ## The index
#
# Checks read an index beside the tables. Make it once, and after each night, or set `check.index: true`, and nights do
# it.
dupelake index --warehouse "$warehouse"

# ## Check
#
# A check is the decision of the next night about this image: new, or whose copy it is, and why. It needs no Spark and no
# Java, and writes nothing.
dupelake check "$out/known.jpg" "$out/new.jpg" --warehouse "$warehouse"

# In Python:
python - "$out/known.jpg" "$warehouse" <<'END'
import sys

import dupelake

(answer,) = dupelake.check(sys.argv[1], sys.argv[2])
print(answer.status, "of", answer.group.keeper[1])
print(answer.group.row["reason"])
END

# ## Keep copies out of a repository
#
# With `--on-duplicate reject` the exit code is 10 if an image is a copy. So a hook of git refuses a commit that adds
# one:
git init --quiet "$out/repository"
cat > "$out/repository/.git/hooks/pre-commit" <<END
#!/bin/sh
git diff --cached --name-only --diff-filter=A -z -- '*.jpg' '*.png' |
  xargs -0 -r dupelake check --warehouse "$warehouse" --on-duplicate reject
END
chmod +x "$out/repository/.git/hooks/pre-commit"
commit() {
  cp "$out/$1" "$out/repository/$1"
  git -C "$out/repository" add "$1"
  git -C "$out/repository" -c user.name=ana -c user.email=ana@example.org commit --quiet -m "Add $1"
}
commit new.jpg && echo "new.jpg: committed"
commit known.jpg || echo "known.jpg: refused"

dupelake check "$out/known.jpg" --warehouse "$warehouse" --on-duplicate reject || echo "exit code $?"

# ## Over HTTP
#
# The server answers the same to programs that send images. On loopback it needs no token
# ([serve](../serve.md#who-may-ask)). With `--port 0` it chooses a free port, and says which.
dupelake serve --warehouse "$warehouse" --port 0 --processes 1 2> "$out/serve.log" &
server=$!
trap 'kill $server' EXIT
until address=$(grep -o 'http://127[^ ,]*' "$out/serve.log"); do
  kill -0 $server && sleep 1
done
until curl --silent --fail "$address/ready" > "$out/ready.json"; do sleep 1; done
curl --silent --fail -F "image=@$out/known.jpg" "$address/check?on_duplicate=link" > "$out/answer.json"
python - "$out/answer.json" <<'END'
import json
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    (answer,) = json.load(file)["answers"]
print(f"{answer['image']}: {answer['status']}, action {answer['action']}, use {answer['group']['link_to']['uri']}")
END
