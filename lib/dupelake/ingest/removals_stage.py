"""Which stored images are deleted, and which contents no live image has. docs/removals.md explains the rules."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import reduce
from pathlib import Path

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from dupelake.ingest.identity_stage import (
    alternative_ids,
    has_uri_id,
    is_scopeless,
    plain_uri,
    scopes_agree,
    with_plain,
)
from dupelake.ingest.manifest_cells_stage import partition_name
from dupelake.ingest.manifest_ids_stage import asked_id
from dupelake.ingest.members import ALL_ARCHIVES, SEPARATOR
from dupelake.ingest.new_images_stage import FORGOTTEN, selected
from dupelake.ingest.trees import has_ending
from dupelake.warehouse.schema import IMAGES, conform

TOMBSTONE, NOT_LISTED = "tombstone", "not_listed"
UNDONE = "undone"  # deleted_reason of a forgotten image that may return
TREE_END = "/"  # end of the source of a tree of images or of archives; that of a manifest does not end with it


def tombstoned(
    manifest: DataFrame, images: DataFrame, partitions: list[str] | None = None, since: str | None = None
) -> DataFrame:
    """Live images that have a tombstone in the manifest.

    Args:
        manifest: the result of new_images_stage.normalise.
        images: schema.IMAGES; deleted images are left out.
        partitions: only tombstones of these.
        since: only tombstones of partitions >= this.

    Returns:
        (image_id, deleted_reason). A tombstone with another URI than the stored one refers to another image. A
        tombstone without id and scope refers to its URI in every scope.
    """
    tombstones = with_plain(selected(manifest.where("is_deleted"), partitions, since))
    wanted = _named(tombstones.withColumn("_uri", F.col("_plain")), "_uri")
    is_uri = F.col("_uri").isNull() | F.col("_plain").eqNullSafe(F.col("_uri"))
    is_it = (F.col("image_id") == F.col("_id")) & is_uri
    live = with_plain(_live(images))
    by_id = live.join(wanted, is_it & _is_of_scope(), "left_semi").select("image_id")
    by_uri = _of_uris(live, tombstones).select("image_id")
    return by_id.unionByName(by_uri).distinct().select("image_id", F.lit(TOMBSTONE).alias("deleted_reason"))


def expected_in_listing(
    manifest: DataFrame,
    images: DataFrame,
    roots: Sequence[str],
    extensions: Sequence[str] = (),
    partitions: list[str] | None = None,
    since: str | None = None,
) -> DataFrame:
    """The live images that a full listing must name if they still exist.

    For a manifest: the images of the same source and of the scopes that it names. For a tree: the images that came from
    a tree and lie below its root. For archives: the images that came from archives and lie in these.

    Args:
        manifest: the whole result of new_images_stage.normalise.
        images: schema.IMAGES.
        roots: sources of `manifest` that are trees or archives, each ending in TREE_END.
        extensions: file extensions that trees are read for; () is all.
        partitions: only images of these, if the run is restricted to them.
        since: only images of partitions >= this.
    """
    live = with_plain(_live(images)).withColumn("_from", plain_uri(F.col("source")))
    if partitions is not None:
        live = live.where(F.col("partition").isin([partition_name(F.lit(name)) for name in partitions]))
    if since is not None:
        live = live.where(F.col("partition") >= F.lit(since))
    is_tree = F.col("source").endswith(TREE_END)
    feeds = manifest.where(~is_tree).select(F.col("source").alias("_source"), F.col("scope").alias("_scope")).distinct()
    is_fed = (F.col("_from") == F.col("_source")) & (F.col("scope") == F.col("_scope"))
    listed = live.where(~is_tree).join(feeds, is_fed, "left_semi")
    if not roots:
        return listed
    trees = live.where(is_tree & reduce(Column.__or__, [_is_of(root) for root in roots]))
    if extensions:
        trees = trees.where(has_ending(extensions))
    return listed.unionByName(trees)


def unlisted(manifest: DataFrame, candidates: DataFrame) -> DataFrame:
    """The images of `expected_in_listing` that a full listing does not name, as (image_id, deleted_reason).

    An image is named by its id, with any URI and in any partition. An image whose id is made from its URI is named by
    that URI, in its scope or without a scope.

    Args:
        manifest: the whole result of new_images_stage.normalise.
        candidates: image_id, uri, scope.
    """
    manifest, candidates = with_plain(manifest), with_plain(candidates)
    names = _named(manifest)
    is_named = (F.col("image_id") == F.col("_id")) & _is_of_scope()
    gone = candidates.join(names, is_named, "left_anti")
    gone = gone.join(_of_uris(gone, manifest).select("image_id"), "image_id", "left_anti")
    return gone.select("image_id", F.lit(NOT_LISTED).alias("deleted_reason"))


def forgotten(images: DataFrame, named: DataFrame, *, undo: bool = False) -> DataFrame:
    """The images that `dupelake forget` changes, as (image_id, deleted_reason).

    Args:
        images: schema.IMAGES. Images deleted for another reason are forgotten too, so that they do not return.
        named: (image_id, uri), one of them null; a URI selects every image that has it.
        undo: forgotten images may return if a manifest lists them.
    """
    is_forgotten = F.col("deleted_at").isNotNull() & F.col("deleted_reason").eqNullSafe(FORGOTTEN)
    found = _by_either(images.where(is_forgotten if undo else ~is_forgotten), named)
    return found.select("image_id", F.lit(UNDONE if undo else FORGOTTEN).alias("deleted_reason"))


def unknown(images: DataFrame, named: DataFrame) -> DataFrame:
    """Rows of `named` that match no stored image."""
    ids = named.where("image_id IS NOT NULL").join(images.select("image_id"), "image_id", "left_anti")
    stored = images.select(plain_uri(F.col("uri")).alias("_stored")).distinct()
    uris = with_plain(named.where("image_id IS NULL"))
    uris = uris.join(stored, F.col("_plain") == F.col("_stored"), "left_anti")
    return ids.select("image_id", "uri").unionByName(uris.select("image_id", "uri"))


def marked(images: DataFrame, gone: DataFrame, now: datetime) -> DataFrame:
    """The rows of `images` that `gone` (image_id, deleted_reason) names, marked as deleted: schema.IMAGES.

    An image that is deleted already keeps its time.
    """
    at = F.lit(now)
    rows = images.drop("deleted_reason").join(gone, "image_id")
    return conform(rows.withColumn("deleted_at", F.coalesce("deleted_at", at)), IMAGES.schema)


def with_notes(known: DataFrame) -> DataFrame:
    """Stored images updated from rows that are not read: missing marks (`_marks`), missing source, changed scope."""
    old = F.coalesce("marks", F.create_map().cast("map<string,string>"))
    new = F.map_filter(
        F.coalesce("_marks", F.create_map().cast("map<string,string>")), lambda key, _: ~F.map_contains_key(old, key)
    )
    both = F.map_concat(old, new)
    return known.withColumns(
        {
            "marks": F.when(F.size(both) > 0, both),
            "source": F.coalesce("source", "_source"),
            "scope": F.coalesce("_scope", "scope"),
        }
    )


def without_live_image(table: DataFrame, images: DataFrame) -> DataFrame:
    """Rows of `table` (with content_id) whose content no live image has."""
    return table.join(_live(images).select("content_id").distinct(), "content_id", "left_anti")


def _by_either(images: DataFrame, named: DataFrame) -> DataFrame:
    ids = named.where("image_id IS NOT NULL").select("image_id").distinct()
    uris = named.where("image_id IS NULL").select(plain_uri(F.col("uri")).alias("_uri")).distinct()
    by_uri = with_plain(images).join(uris, F.col("_plain") == F.col("_uri"), "left_semi").select("image_id")
    return images.join(ids, "image_id", "left_semi").select("image_id").unionByName(by_uri).distinct()


def _named(rows: DataFrame, *more: str) -> DataFrame:
    """(_id, _of, and more): all ids under which the images of manifest rows may be stored, and the scope of the row."""
    scope = F.when(has_uri_id(), F.col("scope"))  # null: any scope
    ids = F.array_append(F.array_append(alternative_ids(), F.col("image_id")), asked_id())
    return rows.select(F.explode(ids).alias("_id"), scope.alias("_of"), *more).distinct()


def _is_of_scope() -> Column:
    """Whether a row of `_named` may refer to the scope of a stored image."""
    return F.col("_of").isNull() | scopes_agree(F.col("_of"), F.col("scope"))


def _of_uris(images: DataFrame, rows: DataFrame) -> DataFrame:
    """The images with ids made from URIs whose URI occurs in rows without id and scope."""
    uris = rows.where(is_scopeless()).select(F.col("_plain").alias("_uri")).distinct()
    return images.where(has_uri_id()).join(uris, F.col("_plain") == F.col("_uri"), "left_semi")


def _live(images: DataFrame) -> DataFrame:
    return images.where(F.col("deleted_at").isNull())


def _is_of(root: str) -> Column:
    """Whether an image that came from a tree or from archives is covered by a listing of this root.

    A tree covers what came from trees below it, a folder of archives what came from archives below it.
    """
    uri, from_archives = F.col("_plain"), F.col("source").endswith(SEPARATOR)
    if root.endswith(SEPARATOR) and not root.endswith(ALL_ARCHIVES):
        # One archive, or a tree whose name ends with an exclamation mark: no archive below it was listed.
        return from_archives & (F.concat(F.lit(root), F.substring_index(uri, SEPARATOR, -1)) == uri)
    prefixes = _prefixes(root.removesuffix(ALL_ARCHIVES))
    is_below = reduce(Column.__or__, [uri.startswith(prefix) for prefix in prefixes])
    return is_below & (from_archives if root.endswith(ALL_ARCHIVES) else ~from_archives)


def _prefixes(root: str) -> list[str]:
    """The prefixes of URIs below a root: as a path, and as the `file:` URI of names that are not UTF-8."""
    if "://" in root:
        return [root]
    return [root, Path(root).as_uri().rstrip("/") + "/"]
