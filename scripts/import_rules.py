"""A contract that import-linter lacks: in a step, only files with certain names may import Spark."""

from __future__ import annotations

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class SparkInStages(Contract):
    """In each step, only `stage.py` and `*_stage.py` import pyspark; all other files use plain arrays and bytes.

    Indirect imports count, so a plain file may not import a stage either.
    """

    type_name = "spark_in_stages"
    rooms = fields.ListField(subfield=fields.ModuleField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Finds a chain of imports from each plain module to pyspark."""
        chains = []
        for room in self.rooms:  # type: ignore[attr-defined]
            for module in sorted(graph.find_children(room.name)):
                name = module.rpartition(".")[2]
                if name == "stage" or name.endswith("_stage"):
                    continue
                output.verbose_print(verbose, f"chains from {module} to pyspark")
                chain = graph.find_shortest_chain(module, "pyspark")
                if chain:
                    chains.append(" -> ".join(chain))
        return ContractCheck(kept=not chains, metadata={"chains": chains})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Prints each chain."""
        for chain in check.metadata["chains"]:
            output.print_error(chain)
