"""`polylogit.app.lab.twins`: the wrong lines are wrong, the right ones right, the words torch's."""

import json

import pytest

from polylogit.app.lab.page import PAGE
from polylogit.app.lab.twins import TWINS, twins

ANSWERS = {twin["name"]: twin for twin in twins()["twins"]}

MESSAGES = {
    "from-one": "IndexError: Target 3 is out of bounds.",
    "scatter": "same number of dimensions as self",
    "column": "multi-target not supported",
    "float": "expected target dtype to be Long or Byte, but got Float",
    "integer-one-hot": "Expected floating point type for target with class probabilities, got Long",
}
NUMBERS = {
    "twice": ("0.7972", "0.4076"),
    "overflow": (["nan"] * 3, ["0.0900", "0.2447", "0.6652"]),
    "log": ([["-∞", "0.0000"]], [["-200.0000", "0.0000"]]),
    "zero-times-infinity": ("nan", "0.0000"),
    "dim": ([["0.5000"] * 3] * 2, [["0.0900", "0.2447", "0.6652"]] * 2),
    "divergence": ("-1.3197", "0.2749"),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_the_message_is_torchs(name):
    assert MESSAGES[name] in ANSWERS[name]["wrong"]["error"]
    assert "short" in ANSWERS[name]["right"]


@pytest.mark.parametrize("name", NUMBERS)
def test_the_numbers_are_torchs(name):
    wrong, right = NUMBERS[name]
    assert ANSWERS[name]["wrong"]["short"] == wrong
    assert ANSWERS[name]["right"]["short"] == right


def test_a_shared_bias_changes_nothing():
    assert ANSWERS["shared-bias"]["wrong"]["short"] == [["0.0900", "0.2447", "0.6652"]]
    assert ANSWERS["shared-bias"]["right"]["short"] != ANSWERS["shared-bias"]["wrong"]["short"]


def test_every_twin_has_words():
    for language in ("en", "ko"):
        words = json.loads((PAGE / f"{language}.json").read_text("utf-8"))
        for twin in TWINS:
            assert {f"twin.{twin.name}.title", f"twin.{twin.name}.why"} <= set(words)
