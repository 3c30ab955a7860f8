import os

import pytest
import torch

from polylogit.optim import threads as module
from polylogit.optim.threads import available_cores, chosen_threads, idle_cores, threads


def test_never_more_than_the_cores_at_hand():
    assert 1 <= chosen_threads(1e15) <= available_cores() <= (os.cpu_count() or 1)
    assert chosen_threads(10.0) == 1
    assert chosen_threads(10.0, asked=7) == 7


def test_the_number_is_restored_even_after_an_error():
    before = torch.get_num_threads()
    seen = []
    with pytest.raises(ZeroDivisionError), threads(before + 1):
        seen.append(torch.get_num_threads() // 0)
    assert seen == []
    with threads(before + 1):
        seen.append(torch.get_num_threads())
    assert seen == [before + 1]
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(("running", "idle"), [(1, 8), (4, 5), (30, 1)])
def test_cores_that_others_use_are_left_to_them(running, idle, tmp_path, monkeypatch):
    load = tmp_path / "loadavg"
    load.write_text(f"0.20 0.18 0.12 {running}/80 11206\n")
    monkeypatch.setattr(module, "LOAD", load)
    monkeypatch.setattr(module, "available_cores", lambda: 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    assert idle_cores() == idle
    assert chosen_threads(1e15) == idle


@pytest.mark.parametrize("text", [None, "", "nonsense here and there"])
def test_where_the_system_does_not_tell_all_cores_are_idle(text, tmp_path, monkeypatch):
    load = tmp_path / "loadavg"
    if text is not None:
        load.write_text(text)
    monkeypatch.setattr(module, "LOAD", load)
    assert idle_cores() == available_cores()
