"""Memory that is used again."""

import torch

from polylogit.rooms import Rooms

CACHE_LINE = 64  # bytes


def test_memory_is_lent_again_only_when_nobody_looks_at_it():
    rooms = Rooms()
    lent = rooms.lend(50, torch.float32)
    assert lent.shape == (50,)
    assert lent.data_ptr() % CACHE_LINE == 0
    view, where = lent[7:].view(43, 1).T, lent.data_ptr()
    del lent
    assert rooms.lend(50, torch.float32).data_ptr() != where
    del view
    assert rooms.lend(50, torch.float64).dtype == torch.float64
    assert len(rooms._every) == 1  # what had another size was given back


def test_memory_of_one_precision_serves_another():
    rooms = Rooms()
    where = rooms.lend(50, torch.float64).data_ptr()
    assert rooms.lend(100, torch.float32).data_ptr() == where


def test_another_device_sees_to_memory_itself():
    with torch.device("meta"):
        assert Rooms().lend(50, torch.float32).device.type == "meta"
