"""The page of `dupelake report` for 10,000 groups: seconds to write it, its weight, and how it scrolls in a browser.

    python -m benchmarks.report --work DIR [--groups 10000] [--rounds 5]

It writes a warehouse of so many groups of 2 to 40 images into the work folder (tests/worlds/report_lake.py: drawn
pictures, rows as nights leave them), runs the command, and opens the page in headless Chromium, on a desktop and on a
phone. It prints the tables of report.md.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(_ROOT / "tests" / "worlds"), str(_ROOT / "lib"), str(_ROOT)]

from html_text import Page  # noqa: E402 - after the path
from report_lake import write_lake  # noqa: E402
from scripts.chromium import launched  # noqa: E402

SIZES = {"desktop, 1360 x 900": (1360, 900), "phone, 390 x 844": (390, 844)}
_FRAMES = 600
_SCROLL = """
async () => {
  const box = document.getElementById("list"), gaps = [];
  let last = performance.now();
  for (let step = 0; step < FRAMES; step += 1) {
    box.scrollTop += 700;
    await new Promise(requestAnimationFrame);
    gaps.push(performance.now() - last);
    last = performance.now();
  }
  return gaps;
}
""".replace("FRAMES", str(_FRAMES))
_WISH = """
async ([id, value, name]) => {
  const field = document.getElementById(id), before = document.getElementById("status").textContent;
  const start = performance.now();
  field.value = value;
  field.dispatchEvent(new Event(name));
  if (name === "input") {
    while (document.getElementById("status").textContent === before) await new Promise((go) => setTimeout(go, 1));
  }
  await new Promise(requestAnimationFrame);
  return performance.now() - start;
}
"""
WISHES = {
    "search, a part of a name": ("search", "edited 3", "input"),
    "filter by kind": ("kind", "crop", "change"),
    "sort by weight of the copies": ("sort", "frees", "change"),
    "sort by name of the keeper": ("sort", "name", "change"),
}


def written(work: Path, n_groups: int) -> tuple[Path, float, float]:
    """The page of a warehouse of so many groups, and the seconds of the command: by the clock, and of processors."""
    lake, page = work / f"lake-{n_groups}", work / f"report-{n_groups}.html"
    if not lake.exists():
        write_lake(lake, n_groups)
    start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "dupelake.cli", "report", "--warehouse", str(lake), "--out", str(page)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return page, time.monotonic() - start, busy


def _cpu_clock(context: Any, page: Any) -> Callable[[], float]:
    """Seconds of processor time of the page's thread; unlike time by the clock, other work does not lengthen them."""
    session = context.new_cdp_session(page)
    session.send("Performance.setTimeDomain", {"timeDomain": "threadTicks"})
    session.send("Performance.enable")

    def now() -> float:
        metrics = session.send("Performance.getMetrics")["metrics"]
        return float(next(one["value"] for one in metrics if one["name"] == "ThreadTime"))

    return now


def measured(browser: Any, path: Path, size: tuple[int, int], rounds: int) -> dict[str, float]:
    """Milliseconds of the page in a window of `size`: medians of `rounds` loads, frames of all rounds."""
    first, whole, gaps, busy, spent = [], [], [], [], {wish: [] for wish in WISHES}
    for _ in range(rounds):
        context = browser.new_context(viewport={"width": size[0], "height": size[1]})
        page = context.new_page()
        page.goto(f"{path.as_uri()}#groups")
        page.wait_for_load_state("load")
        first.append(page.evaluate("performance.getEntriesByName('first-group')[0].startTime"))
        whole.append(page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd"))
        clock = _cpu_clock(context, page)
        before = clock()
        gaps += page.evaluate(_SCROLL)
        busy.append(1000 * (clock() - before) / _FRAMES)
        for wish, asked in WISHES.items():
            spent[wish].append(page.evaluate(_WISH, list(asked)))
            page.click("#reset")
        context.close()
    gaps.sort()
    return {
        "time to the first group, ms": statistics.median(first),
        "whole page read, ms": statistics.median(whole),
        "frames while scrolling": len(gaps),
        "median frame, ms": statistics.median(gaps),
        "95 % of frames under, ms": gaps[int(len(gaps) * 0.95)],
        "longest frame, ms": gaps[-1],
        "processor time of the page a frame, ms": statistics.median(busy),
        "frames over 50 ms": sum(gap > 50 for gap in gaps),
    } | {f"{wish}, ms": statistics.median(found) for wish, found in spent.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, metavar="DIR")
    parser.add_argument("--groups", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    path, seconds, busy = written(args.work, args.groups)
    html = path.read_text(encoding="utf-8")
    page = Page(html)
    data, n_pictures = page.data, sum(map(bool, page.pictures))
    n_images = len(data["members"]["id"])
    print("| page | |\n|---|---|")
    print(f"| groups, images | {len(data['groups']['id']):,}, {n_images:,} |")
    print(f"| seconds of the command, and core-seconds | {seconds:.1f}, {busy:.1f} |")
    print(f"| cores, load of the machine | {os.cpu_count()}, {os.getloadavg()[0]:.0f} |")
    print(f"| weight | {len(html.encode()) / 1e6:.1f} MB |")
    texts = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    print(f"| of it texts and numbers of the groups | {len(texts.encode()) / 1e6:.1f} MB |")
    print(f"| of it pictures | {sum(map(len, page.pictures)) / 1e6:.1f} MB, of {n_pictures:,} images |")
    (script,) = (text for given, text in page.scripts if not given.get("type"))
    before = html[: html.index("<script")]
    print(f"| of it charts, tables, style sheet and script | {(len(before) + len(script)) / 1e3:.0f} KB |")
    with launched() as browser:
        found = {name: measured(browser, path, size, args.rounds) for name, size in SIZES.items()}
    print(f"\n| browser | {' | '.join(found)} |\n|---|{'---|' * len(found)}")
    for figure in next(iter(found.values())):
        print(f"| {figure} | {' | '.join(f'{one[figure]:,.0f}' for one in found.values())} |")


if __name__ == "__main__":
    main()
