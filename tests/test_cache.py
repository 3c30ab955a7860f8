from __future__ import annotations

import pytest

from polylogit.cache import cache_bytes


def say(folder, *sizes):
    for number, size in enumerate(sizes):
        (folder / f"index{number}").mkdir()
        (folder / f"index{number}" / "size").write_text(size)
    return folder


def test_the_largest_cache_counts(tmp_path):
    assert cache_bytes(say(tmp_path, "48K\n", "49152K\n", "1280K\n")) == 48 * 2**20


def test_sizes_in_larger_units(tmp_path):
    assert cache_bytes(say(tmp_path, "32K\n", "1G\n", "96M\n")) == 2**30


@pytest.mark.parametrize("said", ["", "K", "many\n", "12T\n"])
def test_what_is_not_a_size_counts_for_nothing(tmp_path, said):
    assert cache_bytes(say(tmp_path, said, "512K\n")) == 512 * 2**10


def test_a_system_that_says_nothing(tmp_path):
    assert cache_bytes(tmp_path / "none") == 0
