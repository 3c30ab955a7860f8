import os

import pytest
import torch

from polylogit.optim.threads import available_cores, chosen_threads, threads


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
