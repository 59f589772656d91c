"""What no index is made of."""

from __future__ import annotations

import pytest

from dupelake.errors import NotFoundError
from dupelake.lookup.build import build_index
from dupelake.lookup.manifest import FOLDER


@pytest.mark.parametrize("is_there", [False, True])
def test_where_no_warehouse_is_nothing_is_made(tmp_path, is_there):
    warehouse = tmp_path / "wh"
    if is_there:
        warehouse.mkdir()
    with pytest.raises(NotFoundError, match=str(warehouse)):
        build_index(str(warehouse), warehouse / FOLDER)
    assert [path.name for path in tmp_path.rglob("*")] == (["wh"] if is_there else [])
