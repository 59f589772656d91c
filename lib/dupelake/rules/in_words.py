"""What rules would decide, and what they decided, as text for a terminal and as JSON."""

from __future__ import annotations

import json as json_text
from collections.abc import Sequence
from typing import Any

from dupelake.pair_rules import KEEPER, Rule
from dupelake.rules.matching import BOTH_WAYS, CONFLICT, KNOWN, PEOPLES
from dupelake.rules.ruling import Outcome
from dupelake.runtime.redaction import redact_uris

_COUNTED = {
    KNOWN: "already so",
    PEOPLES: "decided by people",
    BOTH_WAYS: "match with either image as a, so neither is kept",
    CONFLICT: "in conflict, so nothing is written",
}
_NEXT = "The next run applies them; jobs/cluster.py does so at once. To withdraw them: dupelake rules --undo NAME"


def in_words(outcomes: Sequence[Outcome], *, is_applied: bool) -> str:
    """Lines for a terminal."""
    lines = []
    for outcome in outcomes:
        rule, n = outcome.rule, sum(outcome.counts.values())
        state = "on" if rule.enabled else "off"
        added = "added" if is_applied else "would be added"
        told = [f"{outcome.n_verdicts} verdicts {added}"]
        told += [f"{outcome.counts[status]} {words}" for status, words in _COUNTED.items() if outcome.counts[status]]
        lines.append(f"{rule.name} ({rule.verdict}, {state} at night): {n} pairs match; {'; '.join(told)}")
        lines += [f"  {_pair(rule, one)}" for one in outcome.examples]
    n_written = sum(outcome.n_verdicts for outcome in outcomes)
    if is_applied:
        lines.append(_NEXT if n_written else "Nothing was written.")
    else:
        lines.append("Nothing was written; --apply adds the verdicts.")
    return "\n".join(lines)


def _pair(rule: Rule, one: dict[str, Any]) -> str:
    kind = one["kind"] or "no kind"
    middle = f"is kept, not {one['other_uri']}" if rule.verdict == KEEPER else f"and {one['other_uri']}"
    status = f" [{_COUNTED[one['status']]}]" if one["status"] in _COUNTED else ""
    return redact_uris(f"{kind} {one['score']:.3f}: {one['uri']} {middle}{status}")


def as_json(outcomes: Sequence[Outcome], *, is_applied: bool) -> str:
    """One JSON object."""
    told = {"applied": is_applied, "rules": [outcome.as_dict() for outcome in outcomes]}
    return json_text.dumps(told, indent=2, ensure_ascii=False)


def undone(name: str, n: int, rules: Sequence[Rule], *, json: bool) -> str:
    """What `--undo` did; `rules` are those of the configuration, of which the next night would apply one again."""
    if json:
        return json_text.dumps({"rule": name, "withdrawn": n})
    told = f"{n} verdicts of the rule {name} are withdrawn; the next run applies that."
    if any(rule.name == name and rule.enabled for rule in rules):
        told += f"\nThe next night gives them again while {name} says enabled: true; set it to false."
    return told
