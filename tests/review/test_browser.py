"""The review page in headless Chromium: keys, verdicts in the table, undo, two reviewers, phone, accessibility."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from review_world import HOSTILE
from reviewing import Serving, verdicts, wait_until

from dupelake import cli
from dupelake.group.giving import Line, give
from dupelake.pipeline.decisions import read_lines
from dupelake.serve.book import DeltaBook
from dupelake.warehouse.reader import Reader

PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}
SHOWN = "#pair:not([hidden])"
FULL = ".pair-frame img[data-full=yes]"


class Window:
    """A window of a reviewer, in a context of its own; faults of the page fail the test."""

    def __init__(self, browser, url: str, author: str | None = "ann", **options: object) -> None:
        self.context = browser.new_context(**({"viewport": {"width": 1280, "height": 850}} | options))
        self.page = self.context.new_page()
        self.faults: list[str] = []
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", lambda line: self.faults.append(line.text) if line.type == "error" else None)
        self.page.on("dialog", lambda dialog: (self.faults.append(dialog.message), dialog.dismiss()))
        self.page.goto(url)
        if author is not None:
            self.page.fill("#author", author)
            self.page.keyboard.press("Enter")
        self.page.wait_for_selector(SHOWN)

    def __enter__(self) -> Window:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.context.close()
        assert kind or not self.faults, self.faults

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def text(self, selector: str) -> str:
        return self.page.locator(selector).inner_text()

    @property
    def files(self) -> tuple[str, str]:
        return self.text("#left-name .file"), self.text("#right-name .file")

    def saved(self) -> None:
        wait_until(lambda: self.text("#saving") == "Saved", 60)

    def is_loaded(self) -> None:
        """Wait until both pictures are shown in full."""
        wait_until(lambda: self.page.locator(FULL).count() == 2)


@pytest.fixture
def served(lake):
    with Serving(lake) as running:
        yield running


def test_each_key_gives_its_verdict_at_once_and_undo_takes_it_back(browser, served, lake):
    with Window(browser, served.url) as ann:
        for key, words in {
            "d": [("duplicate", True)],
            "n": [("not_duplicate", True)],
            "a": [("alternate", True)],
            "l": [("duplicate", True), ("keeper", False)],
            "r": [("duplicate", True), ("keeper", False)],
        }.items():
            before, files = len(verdicts(lake)), ann.files
            ann.press(key)
            assert ann.files != files  # the next pair does not wait for the table
            ann.saved()
            rows = verdicts(lake)[before:]
            assert [(row["verdict"], row["other_image_id"] is not None) for row in rows] == words, key
            assert {row["author"] for row in rows} == {"ann"}
            if key in "lr":
                kept = rows[0]["image_id" if key == "l" else "other_image_id"]
                assert rows[1]["image_id"] == kept
            ann.press("u")
            assert ann.files == files
            ann.saved()
            undone = verdicts(lake)[before + len(rows) :]
            assert {row["verdict"] for row in undone} == {"withdrawn"}
            assert len(undone) == len(rows)
            ann.press("s")
        ann.press("u", "u")
        assert "Taken back: skipped" in ann.text("#notices")
        assert "3 skipped" in ann.text("#progress-text")


def test_two_reviewers_get_different_pairs_and_see_what_the_other_said(browser, served, lake):
    with Window(browser, served.url, "ann") as ann, Window(browser, served.url, "bob") as bob:
        assert ann.files != bob.files
        assert "10 with ann" in bob.text("#progress-text")
        # Somebody judges ann's pair by another way while she looks at it.
        left, right = (_image(ann, side) for side in ("left", "right"))
        files = ann.files
        give(DeltaBook(lake, 10), [Line("x", left, "not_duplicate", right)], "eve")
        ann.press("d")
        wait_until(lambda: "was not stored" in ann.text("#notices"))
        assert [(row["author"], row["verdict"]) for row in verdicts(lake)] == [("eve", "not_duplicate")]
        assert ann.files != files  # the pair that she looks at stays
        ann.press("s")
        assert ann.files == files  # and that one comes next, with what was said
        assert "eve said “not duplicate”" in ann.text("#warnings")
        ann.press("d")
        ann.saved()
        assert [(row["author"], row["verdict"]) for row in verdicts(lake)] == [
            ("eve", "not_duplicate"),
            ("ann", "duplicate"),
        ]
        ann.press("u")  # what held before holds again
        ann.saved()
        assert (verdicts(lake)[-1]["author"], verdicts(lake)[-1]["verdict"]) == ("ann", "not_duplicate")


def test_a_verdict_that_contradicts_others_is_told(browser, served, lake):
    with Window(browser, served.url) as ann:
        left, right = (_image(ann, side) for side in ("left", "right"))
        third = next(one for one in _images(lake) if one not in (left, right))
        book = DeltaBook(lake, 10)
        give(book, [Line("x", left, "duplicate", third), Line("y", third, "duplicate", right)], "eve")
        ann.press("n")
        wait_until(lambda: "Contradiction" in ann.text("#notices"))
        assert "ann says not_duplicate" in ann.text("#notices")


def test_the_address_of_a_picture_names_the_bytes_that_it_shows(browser, served, lake):
    with Window(browser, served.url) as ann:
        ann.is_loaded()
        asked = ann.page.evaluate("performance.getEntriesByType('resource').map((one) => one.name)")
    named = {one.partition("/pictures/")[2] for one in asked} - {""}
    rows = Reader(lake).table("images").to_pylist()
    assert named
    assert named <= {f"{row['image_id']}?content={row['content_id']}" for row in rows}


def test_the_pictures_lie_on_each_other_and_what_differs_is_framed(browser, served):
    with Window(browser, served.url) as ann:
        while "sticker" not in ann.files[1]:
            ann.press("s")
        ann.is_loaded()
        wait_until(lambda: ann.page.locator("#left-pic .line").count() > 0)
        box = ann.page.locator("#right-pic .line").first.bounding_box()
        area = ann.page.locator("#right-pic").bounding_box()
        assert abs((box["x"] - area["x"]) / area["width"] - 20 / 400) < 0.03  # where the disc was drawn
        assert abs(box["width"] / area["width"] - 76 / 400) < 0.05
        ann.press("b")
        assert ann.page.locator("#left-pic .line").count() == 0
        ann.press("b", "3")
        edge = "document.querySelector('.over').style.clipPath"
        assert ann.page.evaluate(edge) == "inset(0px 0px 0px 50%)"
        ann.press("ArrowRight", "ArrowRight")
        assert ann.page.evaluate(edge) == "inset(0px 0px 0px 58%)"
        stack = ann.page.locator("#stack").bounding_box()
        ann.page.mouse.move(stack["x"] + stack["width"] * 0.25, stack["y"] + 50)
        ann.page.mouse.down()
        ann.page.mouse.up()
        assert ann.page.evaluate("Number(document.getElementById('slide').value)") == 25
        ann.press("4")
        assert ann.page.evaluate("getComputedStyle(document.querySelector('.over')).mixBlendMode") == "difference"
        ann.page.keyboard.down("f")
        assert ann.text("#showing") == "Right"
        ann.page.keyboard.up("f")
        assert ann.text("#showing") == "Left"
        assert _brightness_of_difference(ann) < 12  # aligned pictures differ little, but for the disc


def _brightness_of_difference(window: Window) -> float:
    """The mean level of the difference view without its gain, below the sticker."""
    import io

    import numpy as np
    from PIL import Image

    window.press("4")
    window.page.evaluate("document.querySelector('.layers').style.filter = 'none'")
    window.page.evaluate("document.getElementById('boxes').click()")
    shot = window.page.locator("#stack").screenshot()
    with Image.open(io.BytesIO(shot)) as picture:
        levels = np.asarray(picture.convert("L"), float)
    return float(levels[levels.shape[0] // 2 :].mean())


@pytest.mark.long
def test_300_pairs_are_judged_by_keyboard_alone(browser, many, tmp_path):
    import shutil

    lake = Path(shutil.copytree(many, tmp_path / "lake"))
    keys = {"d": "duplicate", "n": "not_duplicate", "a": "alternate"}
    with Serving(lake) as served, Window(browser, served.url) as ann:
        given: list[str] = []
        for number in range(300):
            ann.page.wait_for_selector(SHOWN)
            key = "dna"[number % 3]
            ann.press(key)
            given.append(keys[key])
            if number % 100 == 99:
                ann.page.wait_for_selector("#done:not([hidden])")
                assert "100 pairs judged" in ann.text("#done")
                if number < 299:
                    ann.press("Enter")
        ann.saved()
        rows = verdicts(lake)
        assert len(rows) == 300
        assert sorted(row["verdict"] for row in rows) == sorted(given)
        assert len({(row["image_id"], row["other_image_id"]) for row in rows}) == 300
        ann.press("Enter")
        wait_until(lambda: "Nothing needs a look" in ann.text("#done"))


def test_the_page_keeps_verdicts_and_its_csv_is_accepted(browser, made, lake, tmp_path, capsys):
    out = tmp_path / "page.html"
    assert cli.main(["review", "--warehouse", str(lake), "--out", str(out)]) == 0
    assert "pairs to look at" in capsys.readouterr().out
    with Window(browser, out.as_uri(), None, accept_downloads=True) as ann:
        ann.press("d", "n", "s", "a", "l", "r", "d", "u")
        hostile = 0
        while HOSTILE.replace("/", "") not in ann.files and hostile < 30:
            ann.press("s")
            hostile += 1
        assert HOSTILE in ann.files
        ann.press("a")
        ann.page.reload()
        ann.page.wait_for_selector(SHOWN)
        assert ann.text("#saving") == "6 verdicts"
        with ann.page.expect_download() as saving:
            ann.page.click("#export")
        saving.value.save_as(tmp_path / "review.csv")
    lines, n_blank = read_lines(tmp_path / "review.csv")
    words = sorted(line.verdict for line in lines)
    assert words == ["alternate", "alternate", *["duplicate"] * 3, "keeper", "keeper", "not_duplicate"]
    assert n_blank == 0
    shown = {row["image_id"]: row["content_id"] for row in Reader(lake).table("images").to_pylist()}
    assert all((line.content, line.other_content) == (shown[line.image], shown.get(line.other)) for line in lines)
    assert give(DeltaBook(lake, 10), lines, "ann").added == len(lines)
    assert len(verdicts(lake)) == len(lines)


def test_on_a_phone_buttons_and_fingers_do_everything(browser, served, lake):
    with Window(browser, served.url, "ann", **PHONE) as ann:
        assert ann.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        for button in ann.page.locator("#verdicts button:visible").all():
            area = button.bounding_box()
            assert area["height"] >= 44
            assert area["width"] >= 44
        ann.page.tap("[data-view=slider]")
        stack = ann.page.locator("#stack").bounding_box()
        ann.page.touchscreen.tap(stack["x"] + stack["width"] * 0.75, stack["y"] + stack["height"] / 2)
        assert abs(ann.page.evaluate("Number(document.getElementById('slide').value)") - 75) <= 1
        ann.page.tap("[data-action=duplicate]")
        ann.saved()
        ann.page.tap("[data-action=undo]")
        ann.saved()
        assert [row["verdict"] for row in verdicts(lake)] == ["duplicate", "withdrawn"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", [{}, PHONE], ids=["desktop", "phone"])
def test_axe_finds_nothing(browser, served, scheme, device):
    from axe_playwright_python.sync_playwright import Axe

    def check(window: Window, what: str) -> None:
        found = Axe().run(window.page)
        assert found.violations_count == 0, f"{what}: {found.generate_report()}"

    with Window(browser, served.url, color_scheme=scheme, **device) as ann:
        check(ann, "side by side")
        for key, name in enumerate(("flicker", "slider", "difference"), start=2):
            ann.press(str(key))
            check(ann, name)
        ann.press("m")
        check(ann, "measurements")
        ann.press("d", "u")
        check(ann, "notice")
        ann.press("?")
        check(ann, "help")
        ann.page.keyboard.press("Escape")
        while ann.page.locator(SHOWN).count():
            ann.press("s")
        check(ann, "end")


def test_a_fault_of_the_network_loses_no_verdict(browser, served, lake):
    with Window(browser, served.url) as ann:
        ann.context.set_offline(True)
        ann.press("d", "n")
        wait_until(lambda: "not saved yet" in ann.text("#saving"))
        ann.faults.clear()
        ann.context.set_offline(False)
        ann.saved()
        assert sorted(row["verdict"] for row in verdicts(lake)) == ["duplicate", "not_duplicate"]
        ann.faults.clear()


def test_with_a_token_the_page_asks_for_it(browser, lake):
    token = "a-token-of-some-letters"  # noqa: S105
    with Serving(lake, "--host", "0.0.0.0", env={"DUPELAKE_TOKEN": token}) as served:
        context = browser.new_context()
        page = context.new_page()
        page.goto(served.url)
        page.fill("#author", "ann")
        page.fill("#token", "a-wrong-token-of-letters")
        page.keyboard.press("Enter")
        wait_until(lambda: "Bearer" in page.locator("#notices").inner_text())
        page.fill("#token", token)
        page.keyboard.press("Enter")
        page.wait_for_selector(SHOWN)
        wait_until(lambda: page.locator(FULL).count() == 2)
        page.goto("about:blank")
        page.goto(f"{served.url}#token={token}")
        page.fill("#author", "ann")
        page.keyboard.press("Enter")
        page.wait_for_selector(SHOWN)
        assert token not in page.url
        context.close()


def _image(window: Window, side: str) -> str:
    names = window.page.locator("#paths dt").all_text_contents()
    values = window.page.locator("#paths dd").all_text_contents()
    return dict(zip(names, values, strict=True))[f"{side.capitalize()}, image"]


def _images(lake: Path) -> list[str]:
    return sorted(Reader(os.fspath(lake)).table("images", ["image_id"])["image_id"].to_pylist())
