"""Updates the index of `dupelake check` at the end of a complete night."""

from __future__ import annotations

import logging

from dupelake.errors import first_line
from dupelake.runtime.run_record import Run
from dupelake.warehouse.paths import local_folder

log = logging.getLogger(__name__)


def update_index(run: Run) -> None:
    """Update the index inside a local warehouse. Any fault is logged, because the night itself is complete."""
    from dupelake.lookup.build import build_index
    from dupelake.lookup.manifest import FOLDER

    folder = local_folder(run.warehouse.root)
    if folder is None:
        log.warning(
            "check.index: %s is no folder of this machine; run `dupelake index --index DIR` where images are checked",
            run.warehouse.root,
        )
        return
    try:
        build_index(str(folder), folder / FOLDER)
    except Exception as error:
        log.error("the index of dupelake check was not updated: %s", first_line(error))  # noqa: TRY400
