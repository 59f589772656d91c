"""Text that says why an image is a member of its group, and the test whether a member is a copy.

The struct `link` is the pair of a member and its keeper, from the member's side: overlap (share of the member that the
keeper shows), keeper_overlap, beyond and frame of both (see `group.keeping.Side`), scale and resolution (of the member
relative to the keeper), rotation, box, kind, evidence.
"""

from __future__ import annotations

from pyspark.sql import Column

from dupelake.frames.functions import F
from dupelake.group.bridges import FINER, FINER_DETAIL, WHOLE
from dupelake.group.keeping import FRAMED
from dupelake.verify.decide_stage import COVERED

_LOWER = 0.8  # linear resolution relative to the keeper's, below which the text says "lower"


def evidence_of() -> Column:
    """Text of the measures of a row of schema.PAIRS; measures that are null are left out."""

    def bits(name: str, straight: str, mirrored: str, n_bits: int) -> Column:
        distance = F.when(F.col("is_mirrored"), F.col(mirrored)).otherwise(F.col(straight))
        return F.when(distance.isNotNull(), F.format_string(f"{name} %d of {n_bits} bits", distance))

    def measured(name: str, form: str) -> Column:
        return F.when(F.col(name).isNotNull(), F.format_string(form, name))

    return F.concat_ws(
        ", ",
        bits("PDQ", "pdq_bits", "pdq_mirrored_bits", 256),
        bits("pHash", "phash_bits", "phash_mirrored_bits", 64),
        measured("cosine_similarity", "cosine %.3f"),
        F.when(F.col("n_inliers") > 0, F.format_string("%d keypoints fit", "n_inliers")),
        measured("aligned_ncc", "aligned correlation %.2f"),
    )


def shows_no_more() -> Column:
    """Whether a member shows nothing that its keeper lacks: the keeper shows all of it, and it is not finer.

    The limits are those of `group.bridges.is_finer`. A member without a pair with the keeper is compared by its
    measured pixels.
    """
    sides = [F.col(f"{of}width_px").cast("double") * F.col(f"{of}height_px") for of in ("", "keeper.")]
    finer = F.sqrt(sides[0] / sides[1]) * F.col("detail") / F.col("keeper.detail")
    measured = (F.col("link.overlap") >= WHOLE) & ~_is_finer()
    return F.when(F.col("link").isNull(), finer <= FINER).otherwise(measured)


def confirmed_evidence() -> Column:
    """Text of the evidence of a member's link: the measures, and who confirmed it; from link, in_set and verdicts."""
    people = F.when(F.col("in_set"), F.concat(F.lit("confirmed by "), _confirmed_by()))
    return F.concat_ws(", ", F.nullif(F.col("link.evidence"), F.lit("")), people)


def is_keepers_file() -> Column:
    """Whether a member is the same file as the keeper, under another name."""
    return (F.col("content_id") == F.col("keeper.content_id")) & (F.col("file_id") == F.col("keeper.file_id"))


def _confirmed_by() -> Column:
    return F.coalesce("verdicts.confirmed_by", F.lit("people"))


def verdict_reason() -> Column:
    """Text about verdicts that keep an image apart or conflict, from verdicts and in_conflict; else empty."""
    apart = F.concat(F.lit("; kept apart from "), F.col("verdicts.apart_text"))
    conflict = F.lit("; verdicts contradict each other here (table decision_conflicts): nothing is removable")
    return F.concat(F.coalesce(apart, F.lit("")), F.when(F.col("in_conflict"), conflict).otherwise(""))


def _is_finer() -> Column:
    scale, resolution = F.col("link.scale"), F.col("link.resolution")
    return ((resolution > FINER) & (scale > FINER)) | (resolution > FINER_DETAIL)


def _size(prefix: str = "") -> Column:
    return F.format_string("%dx%d", f"{prefix}width_px", f"{prefix}height_px")


def _percent(share: Column) -> Column:
    return F.format_string("%d %%", F.round(share * 100).cast("int"))


def member_reason() -> Column:
    """Text of the relation of a member to its keeper, or to the image it was compared with.

    From kind, partner, star, partner_image, link, evidence, sizes, verdicts, and `keeper`.
    """
    kind, own, keeper = F.col("kind"), F.col("link.overlap"), F.col("link.keeper_overlap")
    evidence = F.col("evidence")
    measured = F.when(evidence != "", F.concat(F.lit(" ("), evidence, F.lit(")"))).otherwise("")
    sizes = F.when(_size() == _size("keeper."), F.concat(F.lit(", both "), _size())).otherwise(
        F.concat(F.lit(", "), _size(), F.lit(" against "), _size("keeper."))
    )
    part = F.when(keeper < WHOLE, F.concat(F.lit(", showing "), _percent(keeper), F.lit(" of the keeper")))
    is_covered = F.abs(F.col("link.frame") - F.col("link.keeper_beyond")) <= COVERED
    frame = F.when(
        (F.col("link.frame") - F.col("link.keeper_frame") >= FRAMED) & is_covered & (kind == "edited"),
        F.concat(F.lit(", "), _percent(F.col("link.frame")), F.lit(" of it is covered at an edge")),
    ).when(
        F.col("link.frame") - F.col("link.keeper_frame") >= FRAMED,
        F.concat(F.lit(", "), _percent(F.col("link.frame")), F.lit(" of it is a frame around the picture")),
    )
    more = F.coalesce(
        frame,
        F.when(own < WHOLE, F.concat(F.lit(", "), _percent(F.lit(1.0) - own), F.lit(" of it is not in the keeper"))),
    )
    words = F.concat(_words(), F.coalesce(part, F.lit("")), F.coalesce(more, F.lit("")), _resolution())
    crop = F.concat(_size(), F.lit(" crop showing "), _percent(keeper), F.lit(" of the keeper"), _resolution())
    is_named = F.col("is_alternate") & F.col("verdicts.alternate_by").isNotNull()
    alternate = F.concat(F.lit("alternate by the word of "), F.col("verdicts.alternate_by"), F.lit(": "))
    unmeasured = F.concat(F.lit("brought in by a verdict, not compared with the keeper"), sizes)
    is_unmeasured = F.col("link").isNull() & ~F.col("in_set")
    same_file = F.concat(
        F.lit("the same file as the keeper, image "), F.col("keeper.image_id"), F.lit(", under another name")
    )
    text = F.concat(
        F.when(is_named, alternate).otherwise(""),
        F.when(is_keepers_file(), same_file)
        .when(kind == "exact", "same bytes as the keeper")
        .when(kind == "pixel", "same pixels as the keeper, in a file with other bytes")
        .when(is_unmeasured, unmeasured)
        .when((kind == "crop") & (own >= WHOLE), F.concat(crop, measured))
        .otherwise(F.concat(words, measured, sizes)),
    )
    is_indirect = F.coalesce(F.col("partner") != F.col("star"), F.lit(False)) & ~kind.isin("exact", "pixel")
    partner = F.concat(F.lit("image "), F.col("partner_image"))
    of_partner = F.concat(
        F.replace(F.replace(text, F.lit("the keeper"), partner), sizes, F.lit("")),
        F.lit("; kept: that is a copy of the keeper, and this image did not pass against the keeper itself"),
    )
    return F.when(is_indirect, of_partner).otherwise(text)


def _words() -> Column:
    """The first words of a member's reason, by kind."""
    kind, keeper, turn = F.col("kind"), F.col("link.keeper_overlap"), F.col("link.rotation")
    beside = F.when(keeper >= WHOLE, "shows more than the keeper at the edges").otherwise("overlaps with the keeper")
    return (
        F.when(kind == "near", "same picture as the keeper")
        .when(kind == "crop", beside)
        .when(kind == "mirrored", "mirrored copy")
        .when((kind == "rotated") & turn.isNotNull(), F.format_string("rotated by %.0f degrees", turn))
        .when(kind == "rotated", "rotated copy")
        .when(kind == "recoloured", "recoloured copy")
        .when(kind == "edited", F.concat(F.lit("edited"), F.coalesce(_where(), F.lit(""))))
        .otherwise("another version of the keeper's picture")
    )


def _where() -> Column:
    """Text of the place where an edited member differs most; null if that was not measured."""
    box = F.col("link.box")
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    side = F.when(x < 1 / 3, "left").when(x > 2 / 3, "right")
    height = F.when(y < 1 / 3, "top").when(y > 2 / 3, "bottom")
    place = F.concat_ws(" ", side, height)
    text = F.concat(
        F.lit(": differs most at "),
        F.when(place == "", "the centre").otherwise(place),
        F.when(F.col("link.box_is_own"), "").otherwise(" of the keeper"),
        F.lit(" (about "),
        F.when(box["width"] * box["height"] < 0.01, "1 %").otherwise(_percent(box["width"] * box["height"])),
        F.lit(" of the picture's area)"),
    )
    return F.when(box["width"] * box["height"] > 0, text)


def _resolution() -> Column:
    """Text about the resolution of a member that is finer than the keeper, or that shows more at a lower resolution."""
    lower = (F.col("link.overlap") < WHOLE) & (F.col("link.resolution") < _LOWER)
    return F.when(_is_finer(), ", finer than the keeper there").when(lower, ", lower resolution").otherwise("")


def bridge_reason() -> Column:
    """Text about cut edges of an image, from n_cut and is_composite; empty if none was cut."""
    links = F.format_string("%d %s", "n_cut", F.when(F.col("n_cut") == 1, "link").otherwise("links"))
    composite = F.concat(F.lit("; a composite: "), links, F.lit(" to other pictures that it shows cut"))
    single = F.concat(F.lit("; "), links, F.lit(" cut as a bridge to other pictures"))
    return F.when(F.col("n_cut") == 0, "").when(F.col("is_composite"), composite).otherwise(single)
