"""The public names are a list, and the list is true."""

import importlib

import pytest

import polylogit


@pytest.mark.parametrize("name", polylogit.__all__)
def test_every_public_name_is_there_and_comes_from_its_home(name):
    value = getattr(polylogit, name)
    home = polylogit._HOME.get(name)
    if home is None:
        assert value is importlib.import_module(f"polylogit.{name}")
    else:
        assert value is getattr(importlib.import_module(home), name)


def test_no_other_name_is_offered():
    with pytest.raises(AttributeError, match="no attribute 'sofmax'"):
        polylogit.sofmax  # noqa: B018


def test_dir_lists_the_public_names():
    assert set(polylogit.__all__) <= set(dir(polylogit))
