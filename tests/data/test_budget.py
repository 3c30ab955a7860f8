"""Sizes as people write them."""

import pytest

from polylogit.data.budget import size_of
from polylogit.errors import OptionError


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2GiB", 2**31),
        ("500MB", 500_000_000),
        (" 1.5 gib ", 3 * 2**29),
        ("2g", 2 * 10**9),
        ("1TiB", 2**40),
        ("1048576", 2**20),
        ("2048KiB", 2**21),
        ("2000000b", 2_000_000),
        (2**20, 2**20),
    ],
)
def test_sizes(text, size):
    assert size_of(text) == size


@pytest.mark.parametrize(
    "text", ["", "GiB", "-2GiB", "2 parsecs", "1e9", "2GiBs", "nan", "inf", True, None, 2.5, [1]]
)
def test_nonsense_is_refused(text, refusal):
    message = refusal(OptionError, size_of, text)
    assert message.startswith("memory must be a size such as 500MB or 2GiB, not ")


@pytest.mark.parametrize("text", ["0", "1KB", "1048575", "0.5MiB"])
def test_what_holds_no_block_is_refused(text, refusal):
    assert refusal(OptionError, size_of, text) == (
        f"memory must be at least 1MiB, not '{text}'; try 500MB or 2GiB"
    )
