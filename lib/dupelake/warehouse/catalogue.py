"""Tables and views of a warehouse in a schema of a Spark catalogue, made by SQL that Hive's and Unity's take alike."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from pyspark.errors import AnalysisException
from pyspark.sql import SparkSession

from dupelake.errors import ConfigError, first_line
from dupelake.warehouse.paths import qualified
from dupelake.warehouse.views import SPARK, View

_MARK = "dupelake.query"
"""A property of each view that is ours: the digest of its query. A person who changes the query does not change it."""
_ABSENT = ("TABLE_OR_VIEW_NOT_FOUND", "SCHEMA_NOT_FOUND")


@dataclass(frozen=True)
class Found:
    """What a catalogue says of a table or view: columns with comments, and facts by name, such as Location."""

    columns: Sequence[tuple[str, str]]
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_view(self) -> bool:
        """Whether it is a view."""
        return self.facts.get("Type") == "VIEW"


class Catalogue:
    """A schema of a catalogue.

    Args:
        spark: a session that knows the catalogue.
        catalog: its name; `spark_catalog` is that of the session, such as a Hive metastore.
        schema: the name of the schema.
    """

    def __init__(self, spark: SparkSession, catalog: str, schema: str) -> None:
        self._spark, self._catalog, self._schema = spark, catalog, schema
        self._where = f"{_quoted(catalog)}.{_quoted(schema)}"

    def name(self, name: str) -> str:
        """The full name of a table or view, as SQL takes it."""
        return f"{self._where}.{_quoted(name)}"

    def has_schema(self) -> bool:
        """Whether the schema exists.

        Raises:
            ConfigError: there is no such catalogue, or it cannot be asked.
        """
        try:
            self._spark.sql(f"DESCRIBE SCHEMA {self._where}")
        except AnalysisException as error:
            if _is_absent(error):
                return False
            raise ConfigError(
                [
                    f"--catalog {self._catalog}: does not take a schema {self._schema} ({first_line(error)}); a "
                    f"catalogue beside that of the session must be set as spark.sql.catalog.{self._catalog}"
                ]
            ) from error
        return True

    def make_schema(self) -> None:
        """Make the schema; nothing happens where there is one.

        Raises:
            ConfigError: the catalogue does not take the name, or does not let this user.
        """
        try:
            self._spark.sql(f"CREATE SCHEMA IF NOT EXISTS {self._where} COMMENT 'Near-duplicate images, by dupelake'")
        except AnalysisException as error:
            raise ConfigError([f"--schema {self._schema}: {first_line(error)}"]) from error

    def find(self, name: str) -> Found | None:
        """What is there under a name; None if nothing is."""
        try:
            rows = self._spark.sql(f"DESCRIBE TABLE EXTENDED {self.name(name)}").collect()
        except AnalysisException as error:
            if _is_absent(error):
                return None
            raise
        columns, facts, is_column = [], {}, True
        for row in rows:
            is_column = is_column and bool(row["col_name"]) and not row["col_name"].startswith("#")
            if is_column:
                columns.append((row["col_name"], row["comment"] or ""))
            else:
                facts[row["col_name"]] = row["data_type"]
        return Found(columns, facts)

    def fault_of_table(self, name: str, location: str, found: Found) -> str | None:
        """Why what is there under the name is not the external table at `location`; None if it is."""
        if found.is_view:
            return (
                f"{self.name(name)}: is a view; the table needs this name, so rename the view or give another --schema"
            )
        there, provider = found.facts.get("Location", ""), found.facts.get("Provider", "").lower()
        with suppress(ConfigError):  # the session may not know the store of somebody's table
            there = qualified(self._spark, there)
        if provider == "delta" and _one_scheme(there) == _one_scheme(location):
            return None
        return (
            f"{self.name(name)}: is a table of {provider} at {there}, not of delta at {location}; give another "
            "--schema, or drop the table yourself (the files of an external table stay)"
        )

    def fault_of_view(self, name: str, found: Found) -> str | None:
        """Why what is there under the name is not a view that dupelake made; None if it is."""
        if not found.is_view:
            return (
                f"{self.name(name)}: is a table; the view needs this name, so rename the table or give another --schema"
            )
        marks = {row["key"]: row["value"] for row in self._spark.sql(f"SHOW TBLPROPERTIES {self.name(name)}").collect()}
        if _MARK not in marks:
            return f"{self.name(name)}: is a view that dupelake did not make; rename it or give another --schema"
        if marks[_MARK] != _digest(found.facts.get("View Text", "")):
            return f"{self.name(name)}: somebody changed the query of this view; rename it, or drop it to get ours"
        return None

    def make_table(self, name: str, location: str) -> None:
        """Make the external table `name` of the Delta table at `location`."""
        self._spark.sql(f"CREATE TABLE {self.name(name)} USING delta LOCATION {_literal(location)}")

    def make_view(self, view: View, meanings: Mapping[str, str], found: Found | None) -> bool:
        """Make a view, or bring one of ours up to date; its tables must be there.

        Args:
            view: the view.
            meanings: comments of columns that neither the view nor its tables explain.
            found: what `find` says of it.

        Returns:
            Whether it was made or changed.
        """
        query = view.sql(SPARK, self.name)
        columns = []
        for one in self._spark.sql(query).schema.fields:
            told = view.comments.get(one.name) or one.metadata.get("comment") or meanings[one.name]
            columns.append((one.name, told))
        if found is not None and (
            list(found.columns) == columns
            and found.facts.get("View Text") == query
            and found.facts.get("Comment") == view.comment
        ):
            return False
        told = ", ".join(f"{_quoted(name)} COMMENT {_literal(comment)}" for name, comment in columns)
        self._spark.sql(
            f"CREATE {'OR REPLACE ' if found else ''}VIEW {self.name(view.name)} ({told}) "
            f"COMMENT {_literal(view.comment)} TBLPROPERTIES ('{_MARK}' = '{_digest(query)}') AS {query}"
        )
        return True


def _is_absent(error: AnalysisException) -> bool:
    return error.getCondition() in _ABSENT


def _one_scheme(path: str) -> str:
    """A path with one name for S3: catalogues may give another one than the user."""
    return re.sub(r"^s3[an]://", "s3://", path).rstrip("/")


def _digest(query: str) -> str:
    return hashlib.sha256(query.encode()).hexdigest()[:32]


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _literal(text: str) -> str:
    return "'" + re.sub(r"([\\'])", r"\\\1", text) + "'"
