"""One thread for the tests: on a busy machine two wait for each other, ten times as long."""

import torch

torch.set_num_threads(1)
