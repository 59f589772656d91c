"""Text that says why an image is the keeper of its group: the rule that ranks it before the next best."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column

from dupelake.frames.functions import F
from dupelake.group import keeping as rules

# Text about the keeper; about one other image; about several others.
_PHRASES: dict[int, tuple[str, str, str]] = {
    rules.FULLER: ("shows the whole picture", "shows less of it", "show less of it"),
    rules.FINER: ("shows a part, much finer", "shows more of the picture, but coarsely", "show more, but coarsely"),
    rules.LARGER: ("largest{size}", "is smaller", "are smaller"),
    rules.ENLARGED: ("its pixels are real{size}", "is enlarged", "are enlarged"),
    rules.UNFRAMED: ("nothing is around the picture", "has a frame around it", "have a frame around it"),
    rules.CLEAN: (
        "nothing is laid over the picture",
        "has text, a logo or the like on it",
        "have text, a logo or the like",
    ),
    rules.COLOURED: ("in colour", "is grey or tinted", "are grey or tinted"),
    rules.SOFT: ("sharper", "is softer", "are softer"),
    rules.SHARPENED: ("its sharpness is nearer to that of most photographs", "is sharper", "are sharper"),
    rules.NOISY: ("less noise", "has more", "have more"),
    rules.COMPRESSED: ("less compressed{quality}", "lost more to compression", "lost more to compression"),
    rules.RESAVED: (
        "the earlier file{quality}",
        "was saved anew and shows marks of an earlier compression",
        "were saved anew and show marks of an earlier compression",
    ),
    rules.COMBED: ("fewer gaps in its histogram", "has more", "have more"),
    rules.RICHER: ("has camera data, a colour profile or more depth", "lacks some of that", "lack some of that"),
}


def keeper_reason(order: Sequence[str]) -> Column:
    """Why the keeper ranks before the next image: a rule of `group/keeping.py`, or the first criterion that differs.

    Args:
        order: the criteria, as the fields of `rank` and `next.rank`.

    Returns:
        Text from verdicts, keeper_rule, n_by_rule, is_beaten, n_better, disagreement, rank, next, condition, width_px,
        height_px, format, captured_at, vertex and group_size.
    """
    chosen = F.concat(F.lit("keeper: chosen by "), F.col("verdicts.chosen_by"), F.lit(", of "), _images())
    texts = [F.when(F.col("verdicts.chosen_image") == F.col("image_id"), chosen)]
    # The chosen image is gone or in another group, and its vertex was chosen: the criteria only rank equal pixels.
    texts += [F.when(F.col("verdicts.chosen_by").isNotNull() & (F.col("next.vertex") != F.col("vertex")), chosen)]
    texts += [F.when(F.col("keeper_rule") == rule, _rule_text(*phrase)) for rule, phrase in _PHRASES.items()]
    fewer = F.col("n_better") < F.col("next.n_better")
    sounder = F.col("n_sounder") < F.col("next.n_sounder")
    # Some member is better by a rule but agrees less; the next best may be equal.
    most = F.col("is_beaten") & (F.col("disagreement") == 0)
    texts.append(F.when(most, F.lit("Kept: agrees best with the other copies")))
    texts.append(F.when(fewer, F.lit("Kept: fewer of the others are better than it, compared with the next best")))
    agrees = F.col("disagreement") < F.col("next.disagreement")
    texts.append(F.when(agrees, F.lit("Kept: agrees best with the other copies")))
    texts.append(
        F.when(sounder, F.lit("Kept: fewer of the others are less damaged than it, compared with the next best."))
    )
    return F.coalesce(*texts, *_by_criteria(order))


def _rule_text(has: str, one: str, several: str) -> Column:
    quality = F.col("condition.jpeg_quality")
    known = {
        "{size}": F.concat(F.lit(" ("), _size(), F.lit(")")),
        "{quality}": F.when(quality.isNotNull(), F.format_string(" (JPEG quality about %.0f)", quality)).otherwise(""),
    }
    stem, bracket, _ = has.partition("{")
    more = known[bracket + "size}" if has.endswith("{size}") else "{quality}"] if bracket else F.lit("")
    others = F.when(F.col("n_by_rule") == 1, f"; 1 other {one}").otherwise(
        F.concat(F.lit("; "), F.col("n_by_rule").cast("string"), F.lit(f" others {several}"))
    )
    return F.concat(F.lit(f"Kept: {stem}"), more, others)


def _by_criteria(order: Sequence[str]) -> list[Column]:
    bits = -F.col("rank.compression") * 8 if "compression" in order else F.lit(0.0)
    texts = {
        "richness": F.lit("has camera data, a colour profile or more depth"),
        "pixels": F.concat(F.lit("most pixels that carry detail ("), _size(), F.lit(")")),
        "compression": F.format_string("most bytes to the pixel (%.2f bits)", bits),
        "format": F.concat(F.lit("preferred format ("), F.coalesce("format", F.lit("unknown")), F.lit(")")),
        "captured_at": F.concat(
            F.lit("captured first ("), F.date_format("captured_at", "yyyy-MM-dd HH:mm:ss"), F.lit(")")
        ),
        "image_id": F.lit("smallest image_id"),
    }
    tie = F.when(F.col("next.vertex") == F.col("vertex"), "Kept: same pixels as the next best, a tie; ").otherwise(
        "Kept: as good as the next best in all that was measured, a tie; "
    )
    return [F.when(F.col(f"rank.{name}") != F.col(f"next.rank.{name}"), F.concat(tie, texts[name])) for name in order]


def _size() -> Column:
    return F.format_string("%dx%d", "width_px", "height_px")


def _images() -> Column:
    return F.concat(F.col("group_size").cast("string"), F.lit(" images"))
