"""Makes the pictures of the review page in docs/: `python scripts/review_shots.py --warehouse DIR` (of a demo).

Needs Chromium and the extra `test`. Verdicts are not given, so the warehouse is only read.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Page

REPO = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPO), str(REPO / "lib")]

from scripts.chromium import launched  # noqa: E402 - after the path

DOCS = REPO / "docs"
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}
WANTED = "caption"  # in the headline of the pair that is shown


def open_pair(page: Page, url: str) -> None:
    """Go to the first pair whose headline has WANTED, and wait until its pictures are shown."""
    page.goto(url)
    page.fill("#author", "ann")
    page.click("#start-form button[type=submit]")
    page.wait_for_selector("#pair:not([hidden])")
    while WANTED not in page.locator("#headline").inner_text():
        page.click("[data-action=skip]")
        page.wait_for_timeout(100)
    page.wait_for_selector(".pair-frame img[data-full=yes]")
    page.wait_for_selector("#left-pic .line", state="attached")
    page.wait_for_timeout(7_000)  # notices are gone by then


def main() -> None:
    """Serve the warehouse, take both pictures, end the server."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--warehouse", required=True)
    asked = parser.parse_args()
    command = [sys.executable, "-m", "dupelake.cli", "review", "--serve", "--port", "0", "--warehouse", asked.warehouse]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        found = next(filter(None, (re.search(r"open (\S+) in a browser", line) for line in server.stderr or ())))
        with launched() as browser:
            desk = browser.new_page(viewport={"width": 1280, "height": 850})
            open_pair(desk, found[1])
            desk.screenshot(path=DOCS / "review.jpg", quality=85)
            desk.context.close()
            phone = browser.new_context(color_scheme="dark", **PHONE).new_page()  # type: ignore[arg-type]
            open_pair(phone, found[1])
            phone.tap("[data-view=slider]")
            phone.screenshot(path=DOCS / "review-phone.jpg", quality=85)
    finally:
        server.terminate()
        server.wait(60)


if __name__ == "__main__":
    main()
