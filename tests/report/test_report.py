"""Contact sheets, run reports and the Java check."""

from __future__ import annotations

import io
import stat
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from PIL import Image, ImageDraw

from dupelake.errors import EnvironmentFault
from dupelake.report.contact_sheet import Member, SheetGroup, draw_contact_sheet, fit_text
from dupelake.runtime.counts import Counts
from dupelake.runtime.java import check_java, parse_major
from dupelake.runtime.redaction import Redactor
from dupelake.runtime.run_record import REST, START, Run
from dupelake.runtime.run_report import human_bytes, in_short


def jpeg(colour: tuple[int, int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (160, 120), colour).save(buffer, "JPEG")
    return buffer.getvalue()


def member(relation: str, *, removable: bool = False, thumbnail: bytes | None = b"", words: int = 9) -> Member:
    data = jpeg((10, 20, 200)) if thumbnail == b"" else thumbnail
    return Member(
        "id",
        "a rather long file name that does not fit below a tile.jpg",
        data,
        1600,
        1200,
        123_456,
        "JPEG",
        relation,
        removable,
        " ".join(["reason"] * words),
    )


def colours(image: Image.Image) -> set[tuple[int, int, int]]:
    return {colour for _, colour in image.getcolors(1 << 24)}


def test_sheet_draws_a_row_a_group_with_its_frames_and_pictures():
    groups = [
        SheetGroup("g1", 9, [member("keeper"), member("copy", removable=True), member("alternate")]),
        SheetGroup("g2", 2, [member("keeper"), member("copy", thumbnail=None)]),
    ]
    sheet = draw_contact_sheet(groups, "two groups")
    one = draw_contact_sheet(groups[:1], "one group")
    assert sheet.height > one.height
    assert {(34, 139, 34), (200, 50, 40), (40, 90, 200), (215, 150, 20)} <= colours(sheet)
    assert (215, 150, 20) not in colours(draw_contact_sheet(groups[1:], "no alternate"))
    blue = sum(n for n, (r, g, b) in one.getcolors(1 << 24) if b > 150 and r < 60 and g < 60)
    assert blue > 3 * 150 * 100  # three thumbnails were pasted


def test_a_longer_reason_has_more_lines_up_to_a_limit():
    heights = [
        draw_contact_sheet([SheetGroup("g", 2, [member("keeper", words=n), member("copy", words=2)])], "").height
        for n in (3, 20, 300, 3000)
    ]
    assert heights[0] < heights[1] < heights[2] == heights[3]


def test_sheet_without_groups_and_with_broken_thumbnails_is_drawn():
    assert draw_contact_sheet([], "none").height > 50
    draw_contact_sheet([SheetGroup("g", 2, [member("keeper", thumbnail=b"no jpeg"), member("copy")])], "broken")


@pytest.mark.parametrize("name", ["a\nb.jpg", "a\r\n b.jpg", "a\u2028b.jpg", "\n", f"{'x' * 90}\n{'y' * 90}.jpg"])
def test_a_name_with_a_line_end_is_drawn_in_one_line(name):
    sheet = draw_contact_sheet([SheetGroup("g", 2, [replace(member("keeper"), name=name), member("copy")])], "one")
    assert sheet.size == draw_contact_sheet([SheetGroup("g", 2, [member("keeper"), member("copy")])], "one").size
    assert len(fit_text(ImageDraw.Draw(sheet), name, 190, 12).splitlines()) <= 1


def test_human_bytes():
    assert [human_bytes(n) for n in (0, 1023, 1536, 5 * 1024**3, 3 * 1024**5)] == [
        "0 B",
        "1023 B",
        "1.5 KiB",
        "5.0 GiB",
        "3072.0 TiB",
    ]


def reported() -> Run:
    """A run that has only what its report reads."""
    run = Run.__new__(Run)
    run.notes, run.redactor, run.warehouse = [], Redactor(), SimpleNamespace(root="/lake/my dupes")
    return run


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({"named": 1}, []),
        (
            {"read": 4, "hashed": 1, "failed": 2, "contents_new": 0},
            ["1 image hashed, of them 0 with bytes never seen before; 2 failed"],
        ),
        (
            {"groups": 1, "copies": 1, "removable": 0},
            [
                "1 image in all is a copy of one that is kept; none may go under cluster.removable",
                "to see them: dupelake report --warehouse '/lake/my dupes'",
                "to judge the doubtful ones: dupelake review --warehouse '/lake/my dupes'",
            ],
        ),
        ({"groups": 0}, ["0 images in all are copies of ones that are kept; none may go under cluster.removable"]),
    ],
)
def test_the_first_lines_say_what_a_person_wants_to_know(counts, said):
    assert [line.strip() for line in in_short(Counts.of(counts), "/lake/my dupes")] == said


def test_run_report_says_what_people_need():
    run = reported()
    run.run_id, run.job = "r", "nightly"
    run.counts = Counts.of(
        {
            "read": 10,
            "hashed": 6,
            "skipped": 3,
            "failed": 1,
            "failed.truncated": 1,
            "contents_new": 5,
            "pairs_measured": 4,
            "pairs_withdrawn": 0,
            "pairs.near": 3,
            "groups": 2,
            "images_grouped": 5,
            "copies": 4,
            "removable": 3,
            "removable_bytes": 2048,
            "changes.born": 2,
        }
    )
    run.seconds = {"hash": 1.5, "cluster": 2.0}
    text = run.report()
    first = text.splitlines()[1:5]
    assert first[0].strip() == "6 images hashed, of them 5 with bytes never seen before; 1 failed"
    assert first[1].strip() == "4 images in all are copies of ones that are kept; 3 may go and free 2.0 KiB"
    for part in (
        "10 read = 6 hashed + 3 skipped + 1 failed (1 truncated)",
        "3 near",
        "2 of 5 images, 4 copies; 3 removable, 2.0 KiB",
        "2 born",
        "hash 1.5, cluster 2.0; 3.5 in all, on the clock",
    ):
        assert part in text
    assert "named" not in text


def test_seconds_are_of_the_clock():
    run = Run.__new__(Run)
    run.notes = []
    run.begun, run.seconds = time.monotonic() - 100, {START: 20.0, "hash": 30.0, "write": 5.0}
    run.note_rest()
    assert run.seconds[REST] == pytest.approx(45, abs=1)
    run.note_rest()
    assert sum(run.seconds.values()) == pytest.approx(100, abs=1)


def test_a_process_has_one_start(monkeypatch):
    from dupelake.runtime import clock

    monkeypatch.setattr(clock, "_begun", False)
    first, now = clock.begin(), time.monotonic()
    assert 0.1 < now - first < 24 * 3600, "the first job of a process begins with it"
    assert abs(clock.begin() - now) < 1, "a later one when it is called"


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({"named": 4, "unknown": 1, "forgotten": 3}, "named    4 given, 1 unknown; images forgotten: 3"),
        ({"named": 1, "unknown": 0, "undone": 1}, "named    1 given, 0 unknown; images that may come back: 1"),
        ({"named": 1, "unknown": 0, "forgotten": 1, "purged.hashes": 2}, "purged   2 hashes"),
    ],
)
def test_forget_tells_how_many(counts, said):
    run = reported()
    run.run_id, run.job, run.counts, run.seconds = "r", "forget", Counts.of(counts), {}
    assert said in run.report()


@pytest.mark.parametrize(
    ("said", "major"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('java version "1.8.0_412"', 8),
        ('openjdk version "21" 2023', 21),
        ("what", 0),
    ],
)
def test_java_version_is_read(said, major):
    assert parse_major(said) == major


@pytest.mark.parametrize(("script", "said"), [(None, "no Java found"), ("11.0.2", "is Java 11")])
def test_missing_or_unsuitable_java_is_named_with_what_to_install(tmp_path, monkeypatch, script, said):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    if script:
        java = tmp_path / "java"
        java.write_text(f"#!/bin/sh\necho 'openjdk version \"{script}\"' >&2\n", encoding="utf-8")
        java.chmod(java.stat().st_mode | stat.S_IEXEC)
    with pytest.raises(EnvironmentFault, match=said) as caught:
        check_java()
    assert "openjdk-17-jdk-headless" in str(caught.value)


def test_errors_of_workers_keep_their_exit_code_and_message():
    from dupelake.errors import GateError, VersionMixError
    from dupelake.pipeline.common import explain

    assert explain(GateError("too many")) == (3, "too many")
    wrapped = RuntimeError("PythonException: Traceback ...\ndupelake.errors.VersionMixError: a and b\n  at org.apache")
    assert explain(wrapped) == (VersionMixError.exit_code, "a and b")
    assert explain(ValueError("x")) == (1, "ValueError: x")
    full = RuntimeError("Py4JJavaError ... Caused by: java.io.IOException: No space left on device\n at ...")
    for error in (OSError(28, "No space left on device"), full):
        code, message = explain(error)
        assert code == 1
        assert message.startswith("a disk is full")
