"""A night applies the rules that are enabled, after it has grouped; the next run obeys their verdicts."""

from __future__ import annotations

import logging

from dupelake.errors import BusyError, ConfigError
from dupelake.pair_rules import Rule
from dupelake.rules.ruling import apply
from dupelake.runtime.run_record import Run
from dupelake.warehouse.paths import local_folder

log = logging.getLogger(__name__)


def enabled_rules(run: Run) -> list[Rule]:
    """The rules that the night applies at its end.

    Raises:
        ConfigError: there are some, and the warehouse is not local.
    """
    rules = [rule for rule in run.config.rules.list if rule.enabled]
    if rules and local_folder(run.warehouse.root) is None:
        names = ", ".join(rule.name for rule in rules)
        raise ConfigError([f"rules.list: {names}: nights apply rules to local warehouses only; set enabled to false"])
    return rules


def apply_rules(run: Run, rules: list[Rule]) -> None:
    """Add the verdicts of `rules`. If others hold the lock for too long, the next night does it.

    A night without news applies them, too: the one before may have failed at them.
    """
    folder = local_folder(run.warehouse.root)
    if not rules or folder is None:
        return
    with run.step("rules"):
        try:
            outcomes = apply(folder, rules, 0, run.config.lsh)
        except BusyError as error:
            run.notes.append(f"the rules were not applied: {error}")
            return
    for outcome in outcomes:
        told = ", ".join(f"{n} {status}" for status, n in outcome.counts.items() if n) or "no pair matches"
        log.info("rule %s: %d verdicts added (%s)", outcome.rule.name, outcome.n_verdicts, told)
    if n := sum(outcome.n_verdicts for outcome in outcomes):
        run.notes.append(f"rules gave {n} verdicts; the next run applies them (dupelake rules --undo NAME withdraws)")
