"""A model file reads back to the bit; anything else is refused in one line, before it costs."""

import copy
import functools
import gzip
import hashlib
import io
import json
import math
import os
import pickle
import socket
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path

import joblib
import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from polylogit import serialization as module
from polylogit.errors import ModelFileError, OptionError, SolveError
from polylogit.model import SoftmaxModel
from polylogit.schema import Column, Feature, Schema, Table
from polylogit.serialization import load, save

FILES = Path(__file__).parent / "files"
ZEROS = "0" * 64


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def model(schema, record=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    k, d = len(schema.classes), schema.n_features
    weight = torch.randn(k, d, generator=generator, dtype=torch.float64)
    return SoftmaxModel(weight, weight.sum(1), schema, record or {})


def bits(tensor):
    return tensor.view(torch.int64).tolist()


def written(data):
    Path("m").write_bytes(data)
    return "m"


def refusal(call, *arguments):
    """The message without its start, which names the file; it is one printable line."""
    with pytest.raises(ModelFileError) as caught:
        call(*arguments)
    assert type(caught.value) is ModelFileError
    text = str(caught.value)
    assert text.isprintable()
    assert len(text) < 1000
    return text.removeprefix("model file 'm': ")


# --- a file written by hand, as docs/model-file.md says -------------------------------------------

SCHEMA = {"kind": "array", "target": None, "classes": ["no", "yes"], "n_features": 2, "names": None}
HEAD = {
    "format": "polylogit softmax model",
    "version": 1,
    "sha256": ZEROS,
    "schema": SCHEMA,
    "record": {"C": 0.5},
}
TENSORS = {
    "bias": {"dtype": "F64", "shape": [2], "data_offsets": [0, 16]},
    "weight": {"dtype": "F64", "shape": [2, 2], "data_offsets": [16, 48]},
}
BODY = struct.pack("<6d", 0.5, -0.5, 1.0, 2.0, 3.0, 4.0)


def packed(header, body=BODY):
    raw = header.encode() if isinstance(header, str) else header
    raw += b" " * (-len(raw) % 8)
    return struct.pack("<Q", len(raw)) + raw + body


def signed(data):
    return data.replace(ZEROS.encode(), hashlib.sha256(data).hexdigest().encode(), 1)


def by_hand(head=HEAD, tensors=TENSORS, body=BODY):
    """A file of these parts with the right sha256; `head` may be JSON text."""
    text = head if isinstance(head, str) else json.dumps(head, separators=(",", ":"))
    header = {"__metadata__": {"polylogit": text}, **tensors}
    return signed(packed(json.dumps(header, separators=(",", ":")), body))


def with_entry(tree, path, value):
    tree = copy.deepcopy(tree)
    functools.reduce(lambda node, key: node[key], path[:-1], tree)[path[-1]] = value
    return tree


def head_with(*path, value):
    return by_hand(with_entry(HEAD, path, value))


def tensors_with(*path, value):
    return by_hand(tensors=with_entry(TENSORS, path, value))


GOOD = by_hand()
BY_HAND = SoftmaxModel(
    [[1, 2], [3, 4]], [0.5, -0.5], Schema.for_array(2, ("no", "yes")), {"C": 0.5}
)


def test_a_file_written_by_hand_is_the_file_that_save_writes():
    save(BY_HAND, "m")
    assert Path("m").read_bytes() == GOOD


def test_a_file_written_by_hand_is_read():
    found = load(written(GOOD))
    assert found.weight.tolist() == [[1, 2], [3, 4]]
    assert found.bias.tolist() == [0.5, -0.5]
    assert found.schema == BY_HAND.schema
    assert found.record == {"C": 0.5}


def test_a_file_of_version_1_is_read_and_predicts_as_ever_and_is_written_as_ever():
    expected = json.loads((FILES / "version-1.json").read_text())
    found = load(FILES / "version-1.safetensors")
    size, colour, ok = expected["table"].values()
    columns = (
        Column("色", "categorical", np.array([1, 0, 2, 0]), ("blå", "red", "green")),
        Column("Größe", "numeric", np.array(size, dtype=float)),
        Column("ok?", "boolean", np.array(ok, dtype=float)),
    )
    assert [columns[0].categories[code] for code in columns[0].values] == colour
    rows = found.schema.encode(Table(columns, "rows", 4)).matrix
    assert found.labels(rows).tolist() == expected["labels"]
    np.testing.assert_allclose(found.probabilities(rows), expected["probabilities"], rtol=4e-15)
    save(found, "m")
    assert Path("m").read_bytes() == (FILES / "version-1.safetensors").read_bytes()


# --- there and back -------------------------------------------------------------------------------

CLASSES = [
    ("no", "yes"),
    ("", " ", "\n\t\"'\\", "=1+1", "日本", "🐧", "\0", "\ud800", "é"),  # the last but one: a half
    (ZEROS, "f" * 64),
    (3, -1, 0),
    (2**70, -(2**70)),
    (False, True),
    (0.1, -0.0, 1e-300, 1.7976931348623157e308),
    ("only",),
]
SCHEMAS = [
    *(Schema.for_array(3, classes) for classes in CLASSES),
    Schema.for_array(2, (0, 1), target="größe\n", names=("日本", "\ud800 🐧")),
    Schema(
        (
            Feature("größe", "numeric", 0.1, has_missing=True),
            Feature("色", "categorical", has_missing=True, categories=("", "blå", "🐧")),
            Feature(ZEROS, "boolean", 1 / 3),
        ),
        ("a", "b"),
        "ζ",
    ),
]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_model_comes_back_to_the_bit(schema):
    record = {"C": 0.1, "seconds": 1e-7, "ü": [None, True, {"deep": ["ß", 2**70]}], ZEROS: ""}
    there = model(schema, record)
    save(there, "m")
    back = load("m")
    assert bits(back.weight) == bits(there.weight)
    assert bits(back.bias) == bits(there.bias)
    assert back.schema == schema
    assert [repr(label) for label in back.classes] == [repr(label) for label in schema.classes]
    assert back.record == record
    save(back, "again")
    assert Path("again").read_bytes() == Path("m").read_bytes()


def test_extreme_weights_come_back_to_the_bit():
    values = [[-0.0, 5e-324, 1.7976931348623157e308], [0.1, -2.2250738585072014e-308, 1 / 3]]
    there = SoftmaxModel(values, [-0.0, 5e-324], Schema.for_array(3, (0, 1)))
    save(there, "m")
    assert bits(load("m").weight) == bits(there.weight)
    assert bits(load("m").bias) == bits(there.bias)


def test_a_model_of_float32_weights_is_kept_in_float64():
    there = SoftmaxModel(torch.tensor([[0.1], [0.2]]), torch.zeros(2), Schema.for_array(1, (0, 1)))
    save(there, "m")
    assert load("m").weight.dtype == torch.float64
    assert load("m").weight.tolist() == there.weight.tolist() == np.float32([[0.1], [0.2]]).tolist()


def test_numbers_of_numpy_become_plain_numbers():
    schema = Schema.for_array(1, tuple(np.array([3, 5])))
    save(model(schema, {"a": np.float32(0.5), "b": np.bool_(True), "c": np.int8(-1)}), "m")
    assert load("m").classes == (3, 5)
    assert load("m").record == {"a": 0.5, "b": True, "c": -1}


def test_any_reader_of_safetensors_finds_the_weights():
    save(BY_HAND, "m")
    found = safetensors.torch.load_file("m")
    assert {name: tensor.tolist() for name, tensor in found.items()} == {
        "weight": [[1, 2], [3, 4]],
        "bias": [0.5, -0.5],
    }


def test_the_page_about_the_file_reads_it_as_it_says():
    page = (Path(__file__).parents[1] / "docs" / "model-file.md").read_text()
    code = page.split("```python\n")[1].split("```")[0]
    save(BY_HAND, "model.safetensors")
    found = {}
    exec(code, found)  # noqa: S102
    assert found["weight"].tolist() == [[1, 2], [3, 4]]
    assert found["bias"].tolist() == [0.5, -0.5]
    assert found["schema"] == SCHEMA


def test_the_file_may_be_named_by_text_or_path():
    save(BY_HAND, Path("m"))
    assert bits(load(Path("m")).weight) == bits(load("m").weight)


# --- what cannot be saved -------------------------------------------------------------------------

CIRCLE = []
CIRCLE.append(CIRCLE)
ARRAY = Schema.for_array(2, ("no", "yes"))

UNSAVEABLE = {
    "NaN": (ARRAY, {"a": math.nan}, "JSON cannot (Out of range float values are not JSON"),
    "infinity": (ARRAY, {"a": np.float32("inf")}, "JSON cannot (Out of range float values"),
    "bytes": (ARRAY, {"a": b"x"}, "JSON cannot (b'x' is of type bytes)"),
    "array": (ARRAY, {"a": np.zeros(2)}, "JSON cannot (array([0., 0.]) is of type ndarray)"),
    "tuple as key": (ARRAY, {(1, 2): 3}, "JSON cannot (keys must be str"),
    "circle": (ARRAY, {"a": CIRCLE}, "JSON cannot (Circular reference detected)"),
    "integer of 5000 digits": (ARRAY, {"a": 10**5000}, "JSON cannot (Exceeds the limit"),
    "one key twice": (ARRAY, {"1": 1, 1: 2}, "(the key '1' comes twice)"),
    "class NaN": (Schema.for_array(2, (math.nan, 0.0)), {}, "JSON cannot (Out of range float"),
    "mixed classes": (Schema.for_array(2, (1, "1")), {}, "the classes must be of one type"),
    "one class twice": (Schema.for_array(2, ("a", "a")), {}, "some come twice among 'a', 'a'"),
    "no classes": (Schema.for_array(2, ()), {}, "0 classes and 2 features do not fit"),
    "1 MiB of names": (
        Schema.for_array(2, ("a" * 2**20, "b")),
        {},
        "more than the 1048576 allowed; this is no model file, or its classes and columns have too "
        "many or too long names",
    ),
}


@pytest.mark.parametrize(("schema", "record", "why"), UNSAVEABLE.values(), ids=UNSAVEABLE)
def test_what_could_not_be_read_back_does_not_replace_what_can(schema, record, why):
    written(GOOD)
    message = refusal(save, model(schema, record), "m")
    assert message.startswith("cannot save this model: model file 'm': ")
    assert why in message
    assert Path("m").read_bytes() == GOOD
    assert os.listdir() == ["m"]


def test_a_model_too_large_to_be_read_is_not_saved(monkeypatch):
    monkeypatch.setattr(module, "MAX_FILE_BYTES", len(GOOD) - 1)
    assert refusal(save, BY_HAND, "m") == (
        f"cannot save this model: model file 'm': the file has {len(GOOD)} bytes, more than the "
        f"{len(GOOD) - 1} allowed"
    )
    assert os.listdir() == []


def test_a_wrong_destination_is_refused():
    with pytest.raises(OptionError) as caught:
        save(BY_HAND, "no/m")
    folder = os.path.join(os.getcwd(), "no")
    assert str(caught.value) == (
        f"cannot write 'no/m': there is no folder {folder!r}; make it first (mkdir -p)"
    )


DYING = """
import resource, signal, torch
from polylogit import SoftmaxModel, errors, load, save, Schema
old = load("m")
large = SoftmaxModel(torch.zeros(2, 10_000), torch.zeros(2), Schema.for_array(10_000, (0, 1)))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    save(large, "m")
except errors.SolveError as error:
    print(error)
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # now the kernel ends it in the middle of a write
save(large, "m")
"""


def test_a_disk_that_fails_and_a_writer_that_dies_leave_the_old_model():
    written(GOOD)
    result = subprocess.run(
        [sys.executable, "-c", DYING], capture_output=True, text=True, timeout=120
    )
    assert result.stdout.startswith("cannot write 'm': File too large; an older file there is")
    assert result.returncode < 0
    assert len(os.listdir()) == 2
    assert bits(load("m").weight) == bits(BY_HAND.weight)
    save(BY_HAND, "m")
    assert os.listdir() == ["m"]


def test_a_failing_disk_raises_no_error_of_the_input(monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SolveError, match="'m': No space left on device; an older file"):
        save(BY_HAND, "m")


WRITING = """
from polylogit.storage import write_atomically
a, b = (open(name, "rb").read() for name in "ab")
for _ in range(60):
    write_atomically("m", a)
    write_atomically("m", b)
"""


def test_a_reader_never_sees_half_a_model_while_another_is_written():
    for seed, name in enumerate("abm"):
        save(model(Schema.for_array(20_000, (0, 1)), seed=seed), name)
    whole = {tuple(bits(load(name).bias)) for name in "abm"}
    seen = set()
    with subprocess.Popen([sys.executable, "-c", WRITING]) as writer:
        while writer.poll() is None:
            seen.add(tuple(bits(load("m").bias)))
    assert writer.returncode == 0
    assert seen <= whole
    assert len(seen) > 1


# --- damage ---------------------------------------------------------------------------------------


def test_a_file_cut_off_anywhere_is_refused():
    for length in range(len(GOOD)):
        refusal(load, written(GOOD[:length]))


@pytest.mark.parametrize("tail", [b"\0", b" ", b"\n", bytes(8), GOOD])
def test_bytes_after_the_end_are_refused(tail):
    assert refusal(load, written(GOOD + tail)) == (
        f"the tensors need 48 bytes, the file holds {48 + len(tail)}; it is cut off or has bytes "
        "after its end: copy or save it again"
    )


def test_every_flipped_bit_is_refused():
    for at in range(len(GOOD)):
        for bit in range(8):
            data = bytearray(GOOD)
            data[at] ^= 1 << bit
            refusal(module._decoded, bytes(data), "m")


def test_a_changed_weight_or_name_is_found_by_the_sha256():
    for old, new in ((BODY, struct.pack("<6d", 0.5, -0.5, 1.0, 2.0, 3.0, 4.5)), (b"yes", b"Yes")):
        assert old in GOOD
        assert refusal(load, written(GOOD.replace(old, new))) == (
            "its contents do not match its sha256: it was altered or damaged after it was saved; "
            "copy or save it again"
        )


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.data())
def test_any_damage_is_refused_in_one_line(data):
    start = data.draw(st.integers(0, len(GOOD)))
    end = data.draw(st.integers(start, min(len(GOOD), start + 40)))
    damaged = GOOD[:start] + data.draw(st.binary(max_size=40)) + GOOD[end:]
    if damaged != GOOD:
        refusal(module._decoded, damaged, "m")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**63 - 1, 2**63, 2**64, -1, 10**4000, 1e308, 1e-320, -0.0, 2.0, "F64"])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec=None), max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)
PLACES = [
    *(("head", key) for key in HEAD),
    *(("head", "schema", key) for key in SCHEMA),
    *(("tensors", name) for name in ("weight", "bias", "another")),
    *(("tensors", name, key) for name in TENSORS for key in TENSORS[name]),
]


@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.sampled_from(PLACES), JSON)
def test_any_value_in_any_place_is_taken_or_refused_in_one_line(path, value):
    parts = with_entry({"head": HEAD, "tensors": TENSORS}, path, value)
    try:
        found = module._decoded(by_hand(**parts), "m")
    except ModelFileError as error:
        refused = str(error)
    else:
        refused = ""
        assert found.weight.tolist() == [[1, 2], [3, 4]]
    assert len(refused) < 1000
    assert refused.isprintable()


# --- refusals, word for word ----------------------------------------------------------------------

REPEATED = json.dumps(HEAD).replace('"version": 1', '"version": 2, "version": 1')
JSON_TEXT = json.dumps({"__metadata__": {"polylogit": json.dumps(HEAD)}, **TENSORS})
TENSOR_TEXT = json.dumps(TENSORS)[1:]


def inner(text):
    """A file whose metadata are this text."""
    return by_hand(json.dumps(HEAD).replace('"record": {"C": 0.5}', f'"record": {text}'))


EARLY = {
    "zero length": (b"", "the file has only 0 bytes; copy or save it again"),
    "eight bytes": (GOOD[:8], "the file has only 8 bytes; copy or save it again"),
    "header of 2^63 bytes": (
        struct.pack("<Q", 2**63) + GOOD[8:],
        "the header would have 9223372036854775808 bytes, more than the 1048576 allowed; this is "
        "no model file, or its classes and columns have too many or too long names",
    ),
    "header beyond the end": (
        struct.pack("<Q", len(GOOD) - 7) + GOOD[8:],
        f"the file ends inside its header ({len(GOOD)} bytes); copy or save it again",
    ),
    "header over the cap": (
        packed("{" + " " * 2**20 + "}"),
        "the header would have 1048584 bytes, more than the 1048576 allowed; this is no model "
        "file, or its classes and columns have too many or too long names",
    ),
    "a hundred thousand tensors": (
        packed(json.dumps({f"t{i}": TENSORS["bias"] for i in range(100_000)})),
        "the header would have 6688896 bytes, more than the 1048576 allowed; this is no model "
        "file, or its classes and columns have too many or too long names",
    ),
    "ten thousand tensors": (
        by_hand(tensors=TENSORS | {f"t{i}": TENSORS["bias"] for i in range(10_000)}),
        "the tensors must be 'bias' and 'weight', not 'bias', 't0', 't1', 't10', 't100', 't1000', "
        "'t1001', 't1002' and 9994 more",
    ),
    "header in latin-1": (
        packed(JSON_TEXT.replace("yes", "ä").encode("latin-1")),
        "the header is not UTF-8 text; the file is damaged",
    ),
    "header in UTF-16": (
        packed(JSON_TEXT.encode("utf-16-le")),
        "the header is not strict JSON (Expecting property name enclosed in double quotes: line 1 "
        "column 2 (char 1)); the file is damaged",
    ),
    "byte-order mark": (
        packed("\ufeff" + JSON_TEXT),
        "the header is not strict JSON (Unexpected UTF-8 BOM (decode using utf-8-sig): line 1 "
        "column 1 (char 0)); the file is damaged",
    ),
    "header that is a list": (packed("[1, 2]"), "the header is not a JSON object but [1, 2]"),
    "two objects": (
        packed(JSON_TEXT + "{}"),
        f"the header is not strict JSON (Extra data: line 1 column {len(JSON_TEXT) + 1} (char "
        f"{len(JSON_TEXT)})); the file is damaged",
    ),
    "one key twice": (
        packed('{"bias": {}, ' + TENSOR_TEXT),
        "the header is not strict JSON (the key 'bias' comes twice); the file is damaged",
    ),
    "one key twice, written differently": (
        packed('{"\\u0062ias": {}, ' + TENSOR_TEXT),
        "the header is not strict JSON (the key 'bias' comes twice); the file is damaged",
    ),
    "one key twice inside": (
        packed(JSON_TEXT.replace('"dtype": "F64"', '"dtype": "F32", "dtype": "F64"', 1)),
        "the header is not strict JSON (the key 'dtype' comes twice); the file is damaged",
    ),
    "one key twice in the metadata": (
        by_hand(REPEATED),
        "the metadata 'polylogit' is not strict JSON (the key 'version' comes twice); the file is "
        "damaged",
    ),
    "NaN in the metadata": (
        inner('{"a": NaN}'),
        "the metadata 'polylogit' is not strict JSON (NaN is no JSON number); the file is damaged",
    ),
    "-Infinity in the header": (
        packed(JSON_TEXT.replace("48", "-Infinity")),
        "the header is not strict JSON (-Infinity is no JSON number); the file is damaged",
    ),
    "1e999": (
        inner('{"a": -1e999}'),
        "the metadata 'polylogit' is not strict JSON (the number '-1e999' is too large); the file "
        "is damaged",
    ),
    "an integer of 5000 digits": (
        packed(JSON_TEXT.replace("48", "4" * 5000)),
        "the header is not strict JSON (Exceeds the limit (4300 digits) for integer string "
        "conversion: value has 5000 digits; use sys.set_int_max_str_digits() to increase the "
        "limit); the file is damaged",
    ),
    "a hundred thousand brackets": (
        packed('{"a":' + "[" * 100_000 + "]" * 100_000 + "}"),
        "the header is not strict JSON (maximum recursion depth exceeded while decoding a JSON "
        "array from a unicode string); the file is damaged",
    ),
    "deep metadata": (
        inner("[" * 100_000 + "]" * 100_000),
        "the metadata 'polylogit' is not strict JSON (maximum recursion depth exceeded while "
        "decoding a JSON array from a unicode string); the file is damaged",
    ),
    "lone surrogate as a key": (
        packed('{"\\ud800": 1, ' + TENSOR_TEXT),
        "a safetensors file, but not of polylogit: it names no classes and columns",
    ),
    "lone surrogate as a tensor": (
        by_hand(tensors=TENSORS | {"\ud800": TENSORS["bias"]}),
        r"the tensors must be 'bias' and 'weight', not 'bias', 'weight', '\ud800'",
    ),
    "no metadata": (
        packed("{" + TENSOR_TEXT),
        "a safetensors file, but not of polylogit: it names no classes and columns",
    ),
    "metadata that are no text": (
        packed('{"__metadata__": {"polylogit": {}}, ' + TENSOR_TEXT),
        "a safetensors file, but not of polylogit: it names no classes and columns",
    ),
    "metadata that are a list": (
        by_hand("[]"),
        "the metadata 'polylogit' is not a JSON object but []",
    ),
    "another format": (
        head_with("format", value="polylogit forest"),
        "the metadata must say format 'polylogit softmax model' and a version from 1, not "
        "'polylogit forest' and 1; the file is damaged",
    ),
    **{
        f"version {version!r}": (
            head_with("version", value=version),
            "the metadata must say format 'polylogit softmax model' and a version from 1, not "
            f"'polylogit softmax model' and {version!r}; the file is damaged",
        )
        for version in (0, -1, "1", 1.0, True, None)
    },
    "a newer version": (
        by_hand({"format": HEAD["format"], "version": 2, "new": ZEROS}, tensors={}),
        "written in version 2 of the format, this polylogit knows versions up to 1; upgrade "
        "polylogit",
    ),
    "a missing key": (
        by_hand({key: HEAD[key] for key in HEAD if key != "record"}),
        "the metadata must hold 'format', 'record', 'schema', 'sha256', 'version', not 'format', "
        "'version', 'sha256', 'schema'",
    ),
    "another key": (
        by_hand(HEAD | {"extra": 1}),
        "the metadata must hold 'format', 'record', 'schema', 'sha256', 'version', not 'format', "
        "'version', 'sha256', 'schema', 'record', 'extra'",
    ),
    "a record that is no object": (
        head_with("record", value=[1]),
        "the record must be an object, not [1]",
    ),
    "a missing tensor": (
        by_hand(tensors={"weight": TENSORS["weight"]}),
        "the tensors must be 'bias' and 'weight', not 'weight'",
    ),
    "another tensor": (
        by_hand(tensors=TENSORS | {"scale": TENSORS["bias"]}),
        "the tensors must be 'bias' and 'weight', not 'bias', 'scale', 'weight'",
    ),
    "a tensor that is no object": (
        tensors_with("bias", value=3),
        "tensor 'bias' must have dtype, shape and data_offsets: 3",
    ),
    "a tensor with another key": (
        tensors_with("bias", "device", value="cuda"),
        "tensor 'bias' must have dtype, shape and data_offsets: {'dtype': 'F64', 'shape': [2], "
        "'data_offsets': [0, 16], ...}",
    ),
    **{
        f"dtype {dtype!r}": (
            tensors_with("weight", "dtype", value=dtype),
            f"tensor 'weight' must have dtype F64, not {dtype!r}",
        )
        for dtype in ("F32", "I64", "float64", "F65", "f64", "", 64, None, ["F64"])
    },
    **{
        f"shape {shape!r}": (
            tensors_with("weight", "shape", value=shape),
            f"tensor 'weight' cannot have the shape {shape!r}",
        )
        for shape in (
            [4],
            [2, 2, 1],
            [],
            [-2, -2],
            [2, -2],
            [2.0, 2],
            [True, 4],
            ["2", 2],
            [2**63, 2],
            2,
            None,
            {"0": 2, "1": 2},
        )
    },
    "a shape of 8600 digits": (
        tensors_with("weight", "shape", value=[10**4299, 10**4299]),
        f"tensor 'weight' cannot have the shape [1{'0' * 54}...]",
    ),
    "a huge shape": (
        tensors_with("weight", "shape", value=[2**20, 2**20]),
        "tensor 'weight' of shape [1048576, 1048576] must lie at [16, 8796093022224], not [16, 48]",
    ),
    "a shape that overflows to the right size": (
        tensors_with("weight", "shape", value=[2**62 + 1, 4]),
        "tensor 'weight' of shape [4611686018427387905, 4] must lie at [16, "
        "147573952589676412976], not [16, 48]",
    ),
    **{
        f"offsets {offsets!r}": (
            tensors_with("weight", "data_offsets", value=offsets),
            f"tensor 'weight' cannot lie at the offsets {offsets!r}",
        )
        for offsets in ([16], [16, 48, 48], [-16, 16], [16.0, 48], [16, 2**64], "16", None)
    },
    "a hole": (
        tensors_with("weight", "data_offsets", value=[24, 56]),
        "tensor 'weight' of shape [2, 2] must lie at [16, 48], not [24, 56]",
    ),
    "a hole at the start": (
        by_hand(
            tensors={
                "bias": TENSORS["bias"] | {"data_offsets": [8, 24]},
                "weight": TENSORS["weight"] | {"data_offsets": [24, 56]},
            },
            body=bytes(8) + BODY,
        ),
        "tensor 'bias' of shape [2] must lie at [0, 16], not [8, 24]",
    ),
    "an overlap": (
        tensors_with("weight", "data_offsets", value=[8, 40]),
        "tensor 'weight' of shape [2, 2] must lie at [16, 48], not [8, 40]",
    ),
    "the same place": (
        by_hand(
            tensors={
                "bias": {"dtype": "F64", "shape": [2], "data_offsets": [0, 16]},
                "weight": {"dtype": "F64", "shape": [2, 1], "data_offsets": [0, 16]},
            },
            body=BODY[:16],
        ),
        "tensor 'weight' of shape [2, 1] must lie at [16, 32], not [0, 16]",
    ),
    "offsets backwards": (
        tensors_with("weight", "data_offsets", value=[48, 16]),
        "tensor 'weight' of shape [2, 2] must lie at [16, 48], not [48, 16]",
    ),
    "offsets that do not fit the shape": (
        tensors_with("weight", "data_offsets", value=[16, 40]),
        "tensor 'weight' of shape [2, 2] must lie at [16, 48], not [16, 40]",
    ),
    "too few bytes": (
        by_hand(body=BODY[:-8]),
        "the tensors need 48 bytes, the file holds 40; it is cut off or has bytes after its end: "
        "copy or save it again",
    ),
    **{
        f"sha256 {digest!r:.20}": (
            head_with("sha256", value=digest),
            f"sha256 must be 64 hexadecimal digits, not {digest!r:.56}"
            + ("..." + repr(digest)[-1] if len(repr(digest)) > 60 else ""),
        )
        for digest in (None, 5, "", "A" * 64, "1" * 63, "1" * 65, "g" * 64)
    },
    "a wrong sha256": (
        head_with("sha256", value="a" * 64),
        "its contents do not match its sha256: it was altered or damaged after it was saved; copy "
        "or save it again",
    ),
    "no features": (
        by_hand(
            with_entry(HEAD, ["schema", "n_features"], 0),
            with_entry(
                with_entry(TENSORS, ["weight", "shape"], [2, 0]),
                ["weight", "data_offsets"],
                [16, 16],
            ),
            BODY[:16],
        ),
        "2 classes and 0 features do not fit weights of shape (2, 0)",
    ),
    "more classes than weights": (
        head_with("schema", "classes", value=["a", "b", "c"]),
        "3 classes and 2 features do not fit weights of shape (2, 2)",
    ),
    "fewer classes than weights": (
        head_with("schema", "classes", value=["a"]),
        "1 classes and 2 features do not fit weights of shape (2, 2)",
    ),
    "classes that are no list": (
        head_with("schema", "classes", value="ab"),
        "'ab' classes and 2 features do not fit weights of shape (2, 2)",
    ),
    "sixteen million features": (
        head_with("schema", "n_features", value=2**24),
        "2 classes and 16777216 features do not fit weights of shape (2, 2)",
    ),
    "features in words": (
        head_with("schema", "n_features", value="2"),
        "2 classes and '2' features do not fit weights of shape (2, 2)",
    ),
    "a schema that is no object": (
        head_with("schema", value="array"),
        "the schema must be an object, not 'array'",
    ),
    "a schema of another kind": (
        head_with("schema", "kind", value="tree"),
        "schema: 'kind' must be 'table' or 'array', got 'tree'",
    ),
    "a class twice": (
        head_with("schema", "classes", value=["a", "a"]),
        "schema classes: some come twice among 'a', 'a'",
    ),
    "a class that is no label": (
        head_with("schema", "classes", value=["a", None]),
        "schema: a class must be text, a number or true/false, got None",
    ),
    "features that are no integer": (
        head_with("schema", "n_features", value=2.0),
        f"schema: 'n_features' must be an integer in 1..{2**24}, got 2.0",
    ),
    "another number of names": (
        head_with("schema", "names", value=["a", "b", "c"]),
        "2 features need as many different names, got 'a', 'b', 'c'",
    ),
}


@pytest.mark.parametrize(("data", "why"), EARLY.values(), ids=EARLY)
def test_a_wrong_file_is_refused_before_a_tensor_is_made(data, why, monkeypatch):
    def no_tensor(data):
        pytest.fail("a tensor was made")

    monkeypatch.setattr(safetensors.torch, "load", no_tensor)
    assert refusal(load, written(data)) == why


TABLE = {
    "kind": "table",
    "target": "y",
    "classes": ["no", "yes"],
    "features": [
        {"name": "a", "kind": "numeric", "fill": 0.0, "has_missing": False, "categories": []}
    ],
}
LATE = {
    "NaN weights": (
        by_hand(body=BODY[:-8] + struct.pack("<d", math.nan)),
        "the model's weight holds a number that is not finite",
    ),
    "an infinite bias": (
        by_hand(body=struct.pack("<d", -math.inf) + BODY[8:]),
        "the model's bias holds a number that is not finite",
    ),
    "a bias of another length": (
        by_hand(
            tensors={
                "bias": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]},
                "weight": TENSORS["weight"] | {"data_offsets": [8, 40]},
            },
            body=BODY[8:],
        ),
        "2 classes and 2 features need weight (2, 2) and bias (2,), not (2, 2) and (1,)",
    ),
    "a table of another width": (
        head_with("schema", value=TABLE),
        "2 classes and 1 features need weight (2, 1) and bias (2,), not (2, 2) and (2,)",
    ),
}


@pytest.mark.parametrize(("data", "why"), LATE.values(), ids=LATE)
def test_a_wrong_file_is_refused_by_its_tensors(data, why):
    assert refusal(load, written(data)) == why


def test_other_metadata_that_safetensors_itself_refuses_are_refused():
    header = {"__metadata__": {"polylogit": json.dumps(HEAD), "other": 5}, **TENSORS}
    message = refusal(load, written(signed(packed(json.dumps(header)))))
    assert message.startswith("Error while deserializing")


ANNOUNCED = {
    "shape": tensors_with("weight", "shape", value=[2**30, 2**30]),
    "offsets": tensors_with("weight", "data_offsets", value=[16, 2**62]),
    "both": tensors_with(
        "weight", value={"dtype": "F64", "shape": [2, 2**40], "data_offsets": [16, 2**44 + 16]}
    ),
    "features": head_with("schema", "n_features", value=2**24),
    "header": struct.pack("<Q", 2**20 - 1) + GOOD[8:],
    "header of 2^63": struct.pack("<Q", 2**63) + GOOD[8:],
}


@pytest.mark.parametrize("data", ANNOUNCED.values(), ids=ANNOUNCED)
def test_nothing_is_allocated_by_what_a_header_announces(data, monkeypatch):
    monkeypatch.delattr(safetensors.torch, "load")  # torch's memory is not traced
    path = written(data)
    tracemalloc.start()
    refusal(load, path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200_000


def test_a_file_over_the_limit_is_refused_unread():
    os.truncate(written(GOOD), module.MAX_FILE_BYTES + 1)  # a hole: it takes no room on the disk
    tracemalloc.start()
    message = refusal(load, "m")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert message == "the file has 4294967297 bytes, more than the 4294967296 allowed"
    assert peak < 200_000


def test_a_file_at_the_limit_is_read(monkeypatch):
    monkeypatch.setattr(module, "MAX_FILE_BYTES", len(GOOD))
    assert load(written(GOOD)).classes == ("no", "yes")


def test_a_header_at_its_limit_is_read(monkeypatch):
    size = struct.unpack("<Q", GOOD[:8])[0]
    monkeypatch.setattr(module, "MAX_HEADER_BYTES", size)
    assert load(written(GOOD)).classes == ("no", "yes")
    monkeypatch.setattr(module, "MAX_HEADER_BYTES", size - 1)
    assert f"would have {size} bytes, more than the {size - 1} allowed" in refusal(load, "m")


def test_a_long_header_with_a_key_twice_is_refused_at_once():
    keys = [f'"{i}":0' for i in range(100_000)]
    header = packed("{" + ",".join([*keys, keys[-1]]) + "}")
    assert "the key '99999' comes twice" in refusal(load, written(header))


# --- files of other formats -----------------------------------------------------------------------

WEIGHTS = {"coef_": np.ones((2, 3)), "intercept_": np.zeros(2)}
REBUILD = (
    "make SoftmaxModel(weight, bias, Schema.for_array(n_features, classes)) from its coefficients "
    "and intercepts and polylogit.save that"
)
UNRUN = f"which can run code when opened, so polylogit does not; where you trust it, {REBUILD}"


def pickled(protocol):
    return pickle.dumps(WEIGHTS, protocol)


def dumped(compress):
    stream = io.BytesIO()
    joblib.dump(WEIGHTS, stream, compress=compress)
    return stream.getvalue()


def torch_saved(zipped):
    stream = io.BytesIO()
    tensors = {name: torch.from_numpy(array) for name, array in WEIGHTS.items()}
    torch.save(tensors, stream, _use_new_zipfile_serialization=zipped)
    return stream.getvalue()


def numpy_saved(writer, *arrays):
    stream = io.BytesIO()
    writer(stream, *arrays)
    return stream.getvalue()


PICKLE = f"this is no polylogit model but a pickle (pickle, joblib, old .pt), {UNRUN}"
NPZ = f"this is a numpy archive (.npz), not a polylogit model; {REBUILD}"
FOREIGN = {
    **{f"pickle {protocol}": (pickled(protocol), PICKLE) for protocol in range(2, 6)},
    "joblib": (dumped(0), PICKLE),
    **{
        f"joblib zlib {level}": (
            dumped(("zlib", level)),
            f"this is no polylogit model but zlib, such as joblib makes, {UNRUN}",
        )
        for level in (1, 3, 6, 9)
    },
    **{
        f"joblib {name}": (
            dumped((name, 3)),
            f"this is no polylogit model but {name.replace('bz2', 'bzip2')}, such as joblib makes, "
            f"{UNRUN}",
        )
        for name in ("bz2", "xz", "lzma")
    },
    "joblib gzip": (
        dumped(("gzip", 3)),
        "this is no polylogit model but gzip; decompress it first (gunzip)",
    ),
    "gzip": (
        gzip.compress(GOOD),
        "this is no polylogit model but gzip; decompress it first (gunzip)",
    ),
    "torch": (
        torch_saved(True),
        f"this is no polylogit model but a zip archive, such as torch.save (.pt) makes, {UNRUN}",
    ),
    "old torch": (torch_saved(False), PICKLE),
    "npz": (numpy_saved(np.savez, *WEIGHTS.values()), NPZ),
    "npz compressed": (numpy_saved(np.savez_compressed, *WEIGHTS.values()), NPZ),
    "npy": (
        numpy_saved(np.save, WEIGHTS["coef_"]),
        f"this is no polylogit model but a numpy array (.npy); {REBUILD}",
    ),
    "safetensors": (
        safetensors.torch.save({"weight": torch.zeros(2, 3)}, {"format": "pt"}),
        "a safetensors file, but not of polylogit: it names no classes and columns",
    ),
    "HTML": (
        b"\n<!DOCTYPE html>\n<html><body>404 Not Found</body></html>",
        "this is a web page (HTML) or XML, not a model; download the file itself",
    ),
    "JSON": (
        json.dumps({"coef": [[1.0, 2.0]]}).encode(),
        "this is JSON text, not a model; name the file that polylogit fit wrote",
    ),
    "text": (
        "größe,species\n1.5,Adélie\n".encode(),
        "this is text ('größe,species\\n1.5,Adélie\\n'), not a model; was it meant as data?",
    ),
    "text that starts like bzip2": (
        b"BZhour,count\n1,2\n",
        "this is text ('BZhour,count\\n1,2\\n'), not a model; was it meant as data?",
    ),
    "git-lfs pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n",
        "this is text ('version https://git-lfs.github.com/...'), not a model; was it meant as "
        "data?",
    ),
}


@pytest.mark.parametrize(("data", "why"), FOREIGN.values(), ids=FOREIGN)
def test_a_file_of_another_format_is_named(data, why):
    assert refusal(load, written(data)) == why


@pytest.mark.parametrize("name", ["pickle 5", "npz", "HTML"])
def test_a_file_of_another_format_is_named_whatever_its_size(name, monkeypatch):
    monkeypatch.setattr(module, "MAX_FILE_BYTES", 9)
    data, why = FOREIGN[name]
    assert refusal(load, written(data)) == why


class _Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


@pytest.mark.parametrize("protocol", range(6))
def test_no_pickle_is_ever_opened(protocol):
    bomb = pickle.dumps(_Bomb(), protocol)
    refusal(load, written(bomb))
    assert os.listdir() == ["m"]
    pickle.loads(bomb)
    assert sorted(os.listdir()) == ["exploded", "m"]


def test_the_way_that_the_refusals_name_leads_to_a_model():
    weight, bias = pickle.loads(pickled(5)).values()
    save(SoftmaxModel(weight, bias, Schema.for_array(3, ("no", "yes"))), "m")
    assert load("m").labels(np.array([[1.0, 2.0, 3.0]])).tolist() == ["no"]


# --- paths ----------------------------------------------------------------------------------------


def test_what_is_no_regular_file_is_refused_unopened():
    os.mkdir("folder")
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
    for name, kind in {
        "folder": "a directory",
        "pipe": "a named pipe",
        "socket": "a socket",
        "/dev/zero": "a device",
    }.items():
        assert refusal(load, name) == f"model file '{name}': this is {kind}; name a model file"


def test_a_missing_file_is_named_with_its_neighbour():
    Path("penguins.safetensors").touch()
    assert refusal(load, "pengins.safetensors") == (
        "model file 'pengins.safetensors': there is no such file; did you mean "
        "'penguins.safetensors'?"
    )
    assert refusal(load, "other") == "model file 'other': there is no such file"
    folder = os.path.join(os.getcwd(), "no")
    assert refusal(load, "no/m") == (
        f"model file 'no/m': there is no such file; there is no folder {folder!r} either"
    )


def test_a_path_that_cannot_be_is_refused():
    assert refusal(load, "a\0b") == (r"model file 'a\x00b': cannot be read (embedded null byte)")
    written(GOOD)
    assert refusal(load, "m/m") == "model file 'm/m': cannot be read (Not a directory)"


def test_a_file_without_the_right_to_read_is_refused(monkeypatch):
    def denied(path, mode):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(module, "open", denied, raising=False)
    assert refusal(load, written(GOOD)) == "cannot be read (Permission denied)"


def test_a_file_that_shrinks_while_it_is_read_is_refused(monkeypatch):
    class Shrunk(io.BytesIO):
        def fileno(self):
            return os.open("m", os.O_RDONLY)

    monkeypatch.setattr(module, "open", lambda *_: Shrunk(GOOD[:-1]), raising=False)
    assert "the file holds 47; it is cut off" in refusal(load, written(GOOD))
