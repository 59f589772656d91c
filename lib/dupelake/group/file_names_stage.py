"""Images that are one file under several names: none is removable unless all are.

Two images are one file if the same file was read for both (`images.file_id`) with the same bytes. If the bytes differ,
the file changed between both readings, and the earlier reading is out of date.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame

from dupelake.frames.functions import F, W
from dupelake.warehouse.rules import FILE_ID

_FILE = ("content_id", "file_id")
_OWN = tuple(f"own_{name}" for name in _FILE)


def file_of() -> Column:
    """The file of an image; its uri where an older run stored no file_id."""
    return F.expr(FILE_ID).alias("file_id")


def keep_shared_files(rows: DataFrame, members: DataFrame) -> DataFrame:
    """Make images not removable whose file is also the file of an image that stays, and say so in the reason.

    Args:
        rows: image_id, is_removable, reason and more, of images in groups.
        members: image_id, scope, content_id, file_id of all live images of these contents, in all scopes.
    """
    goes = F.coalesce("is_removable", F.lit(False))
    by_file = W.partitionBy(*_OWN)
    names = members.select("image_id", *(F.col(name).alias(f"own_{name}") for name in ("scope", *_FILE)))
    marked = names.join(rows, "image_id", "left").withColumns(  # one join, because `rows` is expensive to compute
        {
            "stays": F.max(~goes).over(by_file),
            "staying_image": F.min(F.when(~goes, F.col("image_id"))).over(W.partitionBy(*_OWN, "own_scope")),
        }
    )
    # Do not name an image of another scope, because it may belong to another owner.
    staying_image = F.coalesce(F.concat(F.lit("image "), F.col("staying_image")), F.lit("an image of another scope"))
    why = F.concat(F.lit(" Not removable: the same file as "), staying_image, F.lit(" under another name."))
    is_kept = F.col("is_removable") & F.col("stays")
    return (
        marked.where("is_removable IS NOT NULL")
        .withColumn("reason", F.concat("reason", F.when(is_kept, why).otherwise("")))
        .withColumn("is_removable", F.col("is_removable") & ~F.col("stays"))
        .select(rows.columns)
    )
