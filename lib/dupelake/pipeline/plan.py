"""The plan of a run: rows to read, changed versions and estimated time. Nothing is written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from dupelake.config import Config
from dupelake.errors import ModelError
from dupelake.ingest.access import Access, own_roots
from dupelake.ingest.new_images_stage import AGAIN, CHANGED, UNREAD
from dupelake.pipeline.embedded import contents_without_embedding
from dupelake.pipeline.hash import asked
from dupelake.pipeline.lsh_join import current_versions
from dupelake.pipeline.options import HashOptions
from dupelake.pipeline.planning import plan_join
from dupelake.pipeline.versions import left_out, stored_beside
from dupelake.propose.generator_stage import Actions, JoinInputs
from dupelake.propose.stage import generators_of, joinable_units
from dupelake.runtime.redaction import redact_uris
from dupelake.runtime.run_record import Run
from dupelake.runtime.run_report import human_bytes
from dupelake.stage_versions import StageVersions
from dupelake.warehouse.rules import SUCCEEDED
from dupelake.warehouse.schema import HASHES, IMAGES, JOIN_KEYS, JOINED, PAIRS, RUNS
from dupelake.warehouse.staging import Unwritten
from dupelake.warehouse.tables import Warehouse, single_row

_OF_IMAGES, _OF_PAIRS = ("hash", "embed", "write", "join"), ("align",)  # steps whose time grows with the number
_NIGHTS = 5  # latest nights on record that estimate the fixed time of a night
_UNKNOWN_FIXED = "2 to 3 min"  # measured on two cores for a first night of a dozen images


@dataclass(frozen=True)
class Rates:
    """Rates of the recorded runs, weighted by their work; None without a record.

    `fixed_seconds` is the time of a night that does not depend on the images: the start of Spark and small queries.
    """

    fixed_seconds: float | None
    seconds_an_image: float | None
    pairs_a_content: float | None
    seconds_a_pair: float | None
    bytes_an_image: float | None


def describe_plan(warehouse: Warehouse, config: Config, options: HashOptions) -> str:
    """The plan in words.

    Args:
        warehouse: only read.
        config: configuration of the planned run.
        options: options of the planned run.

    Raises:
        ManifestError: as the run would, also for a listing that lacks too many images.
    """
    run = Run("plan", config, warehouse)
    run.staging = Unwritten(warehouse, run.run_id)
    try:
        return "\n".join(_lines(run, options))
    finally:
        run.staging.remove()


def _lines(run: Run, options: HashOptions) -> list[str]:
    warehouse, config = run.warehouse, run.config
    _, wanted, counts, _, gone = asked(run, warehouse.read(IMAGES), options)
    n_refused, n_left = _refused(wanted, config, options), 0
    if options.full and (others := left_out(run, wanted, gone)) is not None:
        n_left = others.images.count()
    n_to_do = sum(n for why, n in counts.items() if why not in UNREAD)
    n_added = sum(n for why, n in counts.items() if why not in (*UNREAD, AGAIN, CHANGED))
    lines = [redact_uris(f"Plan for {', '.join(options.paths)} into {warehouse.root}; nothing is written")]
    told = ", ".join(f"{n} {why}" for why, n in sorted(counts.items()) if n)
    lines.append(f"  images   {n_to_do} to read and hash" + (f" ({told})" if told else ""))
    if n_refused:
        lines.append(f"  refused  {n_refused} of them, which fetch.allowed_* do not allow to read (docs/operations.md)")
    lines += [f"  removed  {line}" for line in _removed(gone)]
    lines += [f"  versions {line}" for line in _versions(run, n_left, full=options.full)]
    lines += [f"  join     {line}" for line in _join(run, n_to_do, n_added)]
    lines += [f"  cost     {line}" for line in _cost(_rates(warehouse), n_to_do)]
    return lines


def _refused(wanted: DataFrame, config: Config, options: HashOptions) -> int:
    """Number of the rows of `wanted` that the run would refuse to read."""
    access = Access(config.fetch, own_roots(options.manifests))
    # A lambda, because Spark warns of type hints that are not pandas types.
    is_refused = F.udf(lambda uri: access.looks_refused(uri), "boolean")(F.col("uri"))  # noqa: PLW0108
    return wanted.where(~F.col("why").isin(*UNREAD)).where(is_refused).count()


def _removed(gone: DataFrame | None) -> Iterator[str]:
    """A line about the stored images that the run would mark as deleted."""
    if gone is None:
        return
    by_reason = {row["deleted_reason"]: row["count"] for row in gone.groupBy("deleted_reason").count().collect()}
    if by_reason:
        told = ", ".join(f"{n} {reason}" for reason, n in sorted(by_reason.items()))
        yield f"{sum(by_reason.values())} of the stored images would be marked as deleted ({told}); no file is touched"


def _versions(run: Run, n_left: int, *, full: bool) -> Iterator[str]:
    """Lines about stored data of other versions, and what the run does with it."""
    wh, config = run.warehouse, run.config
    refused = "all of it again" if full else "the run is refused: give --full, or take the options back"
    same = True
    others = stored_beside(run)
    n = 0 if others is None else others.images.count()
    if others is not None and n:
        same = False
        yield f"{n} images {others.words}: every original must be read again; {refused}"
    if n_left:
        yield f"the run is refused, for its manifests leave out {n_left} of them: give all manifests"
    if config.embed.model != "none":
        from dupelake.embed.stage import describe_model

        model, _, _ = describe_model(config.embed)
        n = contents_without_embedding(run, model).count()
        if n:
            same = False
            yield f"{n} contents have no embedding by {model}: made from thumbnails, then compared; no original is read"
    try:
        versions = current_versions(run)
        join, keys = versions.join, wh.read(JOIN_KEYS).where(F.col("key_version") != versions.keys).count()
    except ModelError:
        join, keys = None, 0  # the model is new; the embed job will store it
    if keys:
        same = False
        yield f"the join's keys of {keys} contents are made again, from features and embeddings; no original is read"
    other = wh.read(JOINED).where(F.col("join_version") != F.lit(join)).count() if join else wh.read(JOINED).count()
    if other:
        same = False
        yield f"{other} contents were joined by another version: all meet again, from hashes and features; {refused}"
    n = wh.read(PAIRS).where(F.col("decide_version") != StageVersions(config).decide).count()
    if n:
        same = False
        yield f"{n} pairs are decided again from their stored evidence (thresholds changed); no image is touched"
    if same:
        yield "nothing stored is of another version"


def _join(run: Run, n_new: int, n_added: int) -> Iterator[str]:
    """Lines about the cost of the join of `n_new` images, of which `n_added` do not replace a live one."""
    wh, lsh = run.warehouse, run.config.lsh
    if not n_new:
        return
    try:
        versions = current_versions(run)
    except ModelError:
        return
    hashes = wh.read(HASHES).where(F.col("hash_version") == versions.hash)
    units = joinable_units(wh.read(IMAGES), hashes, lsh)
    n_units = max(units.count() + n_added, n_new)  # there are no units yet if the hashes are of another version
    # A forecast reads the numbers of units only, so `units` stands for all frames, and no action is run.
    inputs = JoinInputs(units, units, units, units, units, versions.centre, lsh, n_units, n_new)
    generators = generators_of(inputs, Actions(run.staging.save, DataFrame.collect, run.count))
    yield from plan_join(wh, inputs, generators).lines()


def _rates(warehouse: Warehouse) -> Rates:
    """The rates of past runs."""
    counts, seconds = F.col("counts"), F.col("seconds")

    def total(column: str, *names: str) -> Column:
        held = counts if column == "counts" else seconds
        return F.sum(sum((F.coalesce(held[name].cast("double"), F.lit(0.0)) for name in names), F.lit(0.0)))

    runs = warehouse.read(RUNS)
    row = single_row(
        runs.agg(
            total("counts", "hashed", "failed").alias("images"),
            total("counts", "contents_new").alias("contents"),
            total("counts", "pairs_measured").alias("pairs"),
            total("seconds", *_OF_IMAGES).alias("image_seconds"),
            total("seconds", *_OF_PAIRS).alias("pair_seconds"),
        )
    )
    rest = F.map_filter("seconds", lambda name, _: ~name.isin(*_OF_IMAGES, *_OF_PAIRS))
    fixed = F.aggregate(F.map_values(rest), F.lit(0.0), lambda sum_, took: sum_ + took).alias("fixed")
    nights = runs.where(f"job = 'nightly' AND {SUCCEEDED}").orderBy(F.desc("started_at")).limit(_NIGHTS)
    fixed_seconds = single_row(nights.select(fixed).agg(F.median("fixed").alias("fixed")))["fixed"]
    size = single_row(warehouse.read(IMAGES).agg(F.avg("byte_size").alias("n")))["n"]
    return Rates(
        fixed_seconds,
        _ratio(row["image_seconds"], row["images"]),
        _ratio(row["pairs"], row["contents"]),
        _ratio(row["pair_seconds"], row["pairs"]),
        None if size is None else float(size),
    )


def _ratio(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None


def _cost(rates: Rates, n_images: int) -> Iterator[str]:
    fixed = rates.fixed_seconds
    if n_images and (rates.seconds_an_image is None or fixed is None):
        yield f"unknown: no night is on record; its fixed part alone takes {_UNKNOWN_FIXED} on two cores"
        return
    known = f"about {fixed / 60:.1f} min" if fixed is not None else _UNKNOWN_FIXED
    told = f"{known} for Spark's start and the small queries of any night, as in past nights"
    if n_images == 0:
        yield f"no image is read; {told}, or less where nothing has changed"
        return
    pairs = n_images * (rates.pairs_a_content or 0.0)
    took = n_images * (rates.seconds_an_image or 0.0) + pairs * (rates.seconds_a_pair or 0.0)
    size = "" if rates.bytes_an_image is None else f", {human_bytes(n_images * rates.bytes_an_image)}"
    yield f"{n_images} images{size}; about {pairs:.0f} pairs; about {took / 60:.1f} min at the rate of past runs"
    yield told
    yield f"about {(took + (fixed or 0.0)) / 60:.1f} min in all"
