"""The planted copies of a run. Candidate generators treat them as units; they are never stored in a table."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from dupelake.pipeline.contents import Contents, Versions
from dupelake.pipeline.embedded import embeds_all
from dupelake.pipeline.recall import certify_copies
from dupelake.propose.join_keys_stage import compute_keys
from dupelake.recall.edits import PLANTED
from dupelake.recall.planted_stage import plant_copies, sample_units
from dupelake.runtime.run_record import Run
from dupelake.warehouse.schema import FEATURES, HASHES, THUMBNAILS, conform


@dataclass(frozen=True)
class Planted:
    """Planted copies of a sample of the new units. `copies` is COPIES, staged; None if none are configured."""

    run: Run
    copies: DataFrame | None

    @staticmethod
    def of(run: Run, units: DataFrame) -> Planted:
        """Make the copies from `units` (scope, content_id, is_new)."""
        n_images = run.config.run.planted_images
        if n_images == 0:
            return Planted(run, None)
        made = plant_copies(sample_units(units, n_images), run.warehouse.read(THUMBNAILS), run.config)
        return Planted(run, run.staging.save(made, "planted"))

    def added_to(self, contents: Contents, versions: Versions) -> Contents:
        """The contents with the copies added as new units."""
        if self.copies is None:
            return contents
        made, join = self.copies.where("error_message IS NULL"), contents.join
        units = made.where(~F.col("is_low_information")).select("scope", "content_id", F.lit(True).alias("is_new"))
        embeddings = contents.embeddings
        if embeddings is not None:
            embeddings = embeddings.unionByName(self._embedded(made, versions))
        features = join.features.unionByName(conform(made, FEATURES.schema))
        keys = compute_keys(made.select("content_id"), features, embeddings, join.centre, join.cfg, versions.keys)
        keys = self.run.staging.save(keys, "planted-keys")  # not stored in a table, like the copies
        n_copies = self.run.config.run.planted_images * len(PLANTED)
        return Contents(
            replace(
                join,
                units=join.units.unionByName(units),
                hashes=join.hashes.unionByName(conform(made, HASHES.schema)),
                features=features,
                keys=join.keys.unionByName(keys),
                new_keys=join.new_keys.unionByName(keys),
                n_units=join.n_units + n_copies,
                n_new=join.n_new + n_copies,
            ),
            contents.thumbnails.unionByName(conform(made, THUMBNAILS.schema)),
            embeddings,
            contents.sizes.unionByName(made.select("content_id", "full_width_px")),
        )

    def _embedded(self, made: DataFrame, versions: Versions) -> DataFrame:
        from dupelake.embed.stage import embed_contents, has_few_words

        assert versions.model is not None  # noqa: S101 - for the type checker
        assert versions.preprocess is not None  # noqa: S101
        if not embeds_all(self.run):
            made = made.where(has_few_words())
        vectors = embed_contents(made, self.run.config.embed, versions.model, versions.preprocess)
        return self.run.staging.save(vectors, "planted-embeddings")

    def with_originals_only(self, candidates: DataFrame) -> DataFrame:
        """(src_id, dst_id, found_by) without pairs of a copy with a content other than its original."""
        if self.copies is None:
            return candidates
        lineage = F.broadcast(self.copies.select("content_id", "parent_id"))
        for side, other in (("src_id", "dst_id"), ("dst_id", "src_id")):
            renamed = lineage.select(F.col("content_id").alias(side), F.col("parent_id").alias(f"{side}_parent"))
            candidates = candidates.join(renamed, side, "left").where(
                F.col(f"{side}_parent").isNull() | (F.col(f"{side}_parent") == F.col(other))
            )
        return candidates

    def taken_from(self, decided: DataFrame) -> DataFrame:
        """PAIRS without the pairs of copies. The recall of copies is recorded in the run."""
        if self.copies is None:
            return decided
        certify_copies(self.run, self.copies, decided)
        planted = self.copies.select("content_id")
        for side in ("src_id", "dst_id"):
            decided = decided.join(F.broadcast(planted.withColumnRenamed("content_id", side)), side, "left_anti")
        return decided
