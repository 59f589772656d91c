"""Secrets are removed from everything stored, logged or printed; other text stays readable."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from urllib.parse import quote

import pytest
from pyspark.logger import PySparkLogger

from dupelake.cli import main
from dupelake.pipeline import nightly
from dupelake.pipeline.arguments import spark_settings
from dupelake.runtime.logs import EventLog, configure_logging
from dupelake.runtime.redaction import HIDDEN, Redactor, redact_uris

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCY"  # noqa: S105


@pytest.mark.parametrize(
    "text",
    [
        f"s3a://AKIAIOSFODNN7:{SECRET}@bucket/a.jpg",
        f"no object at s3a://AKIAIOSFODNN7:{SECRET}@bucket/a.jpg: 403",
        f"http://ana:{SECRET.replace('/', '%2F')}@host:8080/a.jpg",
        "https://host/a.jpg?sv=2024&sig=wJalrXUtnFEMI%2F&se=1",
        "https://b.s3.amazonaws.com/a?X-Amz-Credential=wJalrXUtnFEMI%2F2026&X-Amz-Signature=wJalrXUtnFEMI",
        "https://b.s3.amazonaws.com/a?X-Amz-Security-Token=wJalrXUtnFEMI",
        "https://storage.googleapis.com/b/a?GoogleAccessId=x&Signature=wJalrXUtnFEMI",
        "https://maps/a?size=3&key=wJalrXUtnFEMI",
        "sftp://ana:wJalrXUtnFEMI@host/a",
    ],
)
def test_uris_lose_their_secrets(text):
    shown = redact_uris(text)
    assert "wJalrXUtnFEMI" not in shown
    assert HIDDEN in shown
    assert shown.split("?")[0].endswith((text.split("@")[-1].split("?")[0], text.split("?")[0]))


@pytest.mark.parametrize(
    "text",
    [
        "abfss://container@account.dfs.core.windows.net/a.jpg",
        "http://host:8080/path/icon@2x.png",
        "/data/token=7/partition=2026-11-01/a.jpg",
        "s3a://bucket/a@b.jpg",
        "https://host/a.jpg?size=3&page=key",
        "ana@example.org",
        "3 of 4 images failed, more than run.max_failed_fraction = 0.5 allows",
    ],
)
def test_what_is_no_secret_stays(text):
    assert Redactor()(text) == text
    assert Redactor().arguments([text]) == [text]


def test_arguments_by_the_name_of_the_setting():
    argv = [
        "s3a://lake/m.csv",
        "--spark",
        f"spark.hadoop.fs.s3a.secret.key={SECRET}",
        f"--spark=spark.hadoop.fs.s3a.access.key={SECRET}",
        f"spark.hadoop.fs.azure.account.key.mine.dfs.core.windows.net={SECRET}",
        f"spark.driver.extraJavaOptions=-Djavax.net.ssl.trustStorePassword={SECRET}",
        "spark.driver.memory=4g",
        "decide.min_score=0.9",
    ]
    shown = Redactor().arguments(argv)
    assert SECRET not in json.dumps(shown)
    assert shown[0] == argv[0]
    assert shown[2] == f"spark.hadoop.fs.s3a.secret.key={HIDDEN}"
    assert shown[3] == f"--spark=spark.hadoop.fs.s3a.access.key={HIDDEN}"
    assert shown[-2:] == argv[-2:]


def test_the_users_own_pattern_and_known_values():
    mine = {
        "spark.redaction.regex": "(?i)pin",
        "spark.hadoop.my.pin": "12345678",
        "spark.hadoop.my.colour": "vermilion",
    }
    redactor = Redactor.of(mine)
    assert redactor.arguments(["spark.hadoop.my.pin=1"]) == [f"spark.hadoop.my.pin={HIDDEN}"]
    assert redactor("login with 12345678 failed; vermilion") == f"login with {HIDDEN} failed; vermilion"
    assert redactor.is_secret("spark.hadoop.fs.s3a.secret.key"), "what we know stays hidden beside the user's pattern"
    java = Redactor.of({"spark.redaction.regex": r"\p{Alpha}[", "spark.hadoop.x": "abcdefgh"})  # Python cannot read it
    assert java("abcdefgh") == HIDDEN


def test_what_a_store_repeats_from_the_environment(monkeypatch):
    """S3 answers a token that has expired with the token itself, and a wrong signature with what was signed."""
    token = "IQoJb3/DupelakeToken+=="  # noqa: S105
    for name, value in {"AWS_SESSION_TOKEN": token, "AZURE_STORAGE_KEY": SECRET, "TOKEN": "else/where"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/token")
    said = f"403: <Token-0>{token}</Token-0> {quote(token, safe='')} {SECRET}"
    assert Redactor.of({})(said) == f"403: <Token-0>{HIDDEN}</Token-0> {HIDDEN} {HIDDEN}"
    other = "AKIAIOSFODNN7 may not read else/where or /var/run/token"
    assert Redactor.of({})(other) == other


def test_logs_traces_and_events(tmp_path: Path, capsys):
    redactor = Redactor.of({"spark.hadoop.fs.s3a.secret.key": SECRET})
    configure_logging("r", redact=redactor)
    try:
        try:
            raise ValueError(f"key {SECRET} refused for https://h/a?sig={SECRET}")
        except ValueError:
            logging.getLogger("dupelake.x").exception("at %s", f"s3a://a:{SECRET}@b/c")
    finally:
        logging.getLogger("dupelake").handlers.clear()
        logging.getLogger("dupelake").propagate = True
    said = capsys.readouterr().err
    assert "ValueError" in said
    assert SECRET not in said
    events = EventLog(str(tmp_path / "events"), "r", "hash", redactor)
    events.emit("run_finished", error=f"no {SECRET}", counts={"read": 3}, arguments=[f"http://a:{SECRET}@b/c"])
    (event,) = map(json.loads, (tmp_path / "events").read_text(encoding="utf-8").splitlines())
    assert SECRET not in json.dumps(event)
    assert event["counts"] == {"read": 3}


def test_a_logger_of_pyspark_writes_nothing_of_ours(capsys):
    """Its getLogger sets the class of all loggers for a moment; of two threads the later one may set it for good."""
    before = logging.getLoggerClass()
    logging.setLoggerClass(PySparkLogger)
    try:
        early = logging.getLogger("dupelake.made_early")
        assert early.handlers
        configure_logging("r", redact=Redactor.of({"spark.hadoop.fs.s3a.secret.key": SECRET}))
        for one in (early, logging.getLogger("dupelake.made_late")):
            one.warning("at %s", SECRET)
    finally:
        logging.setLoggerClass(before)
        logging.getLogger("dupelake").handlers.clear()
        logging.getLogger("dupelake").propagate = True
    said = capsys.readouterr().err
    assert SECRET not in said
    assert said.count("WARNING") == 2


def test_a_refused_command_repeats_no_secret(tmp_path: Path, capsys):
    events = tmp_path / "events"
    wrong = ["--spark", f"fs.s3a.secret.key={SECRET}", "--set", f"run.event_log={events}"]
    assert nightly.main([str(tmp_path / "none"), "--warehouse", str(tmp_path / "wh"), *wrong]) == 2
    assert main(["vocabulary", "--warehouse", str(tmp_path), "--out", str(tmp_path / "r"), *wrong[:2]]) == 2
    with pytest.raises(SystemExit) as caught:
        main(
            [
                "vocabulary",
                "--warehouse",
                str(tmp_path),
                "--out",
                str(tmp_path / "r"),
                f"spark.hadoop.fs.s3a.secret.key={SECRET}",
            ]
        )
    assert caught.value.code == 2
    said = capsys.readouterr().err + events.read_text(encoding="utf-8")
    assert SECRET not in said
    assert said.count("must be spark.KEY=VALUE") == 3  # twice to people, once to collectors


def test_spark_settings_and_their_faults():
    faults: list[str] = []
    assert spark_settings(["spark.a=b=c", "spark.d="], faults) == {"spark.a": "b=c", "spark.d": ""}
    assert not faults
    spark_settings(["spark.a", "b=c"], faults)
    assert len(faults) == 2


@pytest.mark.parametrize("command", ["decide", "vocabulary", "forget", "maintain", "plan"])
def test_every_command_takes_spark_settings_and_names_all_faults(tmp_path: Path, command, capsys):
    """The command is refused before Spark starts, and the faults name the setting."""
    extra = {
        "decide": ["--author", " ", "a", "keeper"],
        "vocabulary": ["--out", str(tmp_path / "v.npz"), "--images", "0"],
        "plan": [str(tmp_path / "none")],
    }
    where = ["--warehouse", str(tmp_path / "no warehouse")]
    assert main([command, *extra.get(command, []), *where, "--spark", "no"]) == 2
    said = capsys.readouterr().err
    assert "--spark no: must be spark.KEY=VALUE" in said
    assert command in ("maintain", "plan") or "no warehouse" in said
    assert "Traceback" not in said
