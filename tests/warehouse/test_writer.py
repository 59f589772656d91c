"""Where delta-rs can write tables of verdicts, and where it panics."""

from __future__ import annotations

import pytest

from dupelake.errors import EnvironmentFault
from dupelake.warehouse.writer import Writer, can_write


@pytest.mark.parametrize("name", ["a[b", "a]b", "a^b", "a|b"])
def test_a_folder_below_which_delta_rs_cannot_write_is_refused_with_the_fix(tmp_path, name):
    with pytest.raises(EnvironmentFault, match="dupelake decide"):
        Writer(str(tmp_path / name))


@pytest.mark.parametrize("name", ["Zürich", "a b", "a#b", "a?b", "a&b"])
def test_other_names_are_written(tmp_path, name):
    assert can_write(str(tmp_path / name))
