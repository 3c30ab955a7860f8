"""On which device a solve computes.

Everything a solve makes lies where the design's rows lie: inside `on(device)` torch makes new
tensors there. Only the parameters come back, to the CPU, where a model lives.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from polylogit.errors import OptionError

CPU = torch.device("cpu")


def checked_device(option: object) -> torch.device:
    """The device that `option` names, "auto" being the CPU.

    Raises `OptionError` for what is no device, and for one that is not there.

    >>> checked_device("auto")
    device(type='cpu')
    """
    if option == "auto":
        return CPU
    try:
        device: torch.device = torch.device(option)  # type: ignore[call-overload]
        torch.empty(0, device=device)
    except (RuntimeError, TypeError, AssertionError, ImportError) as error:
        reason = str(error).splitlines()[0]
        raise OptionError(
            f"device must be 'auto', 'cpu' or one that is there, such as 'cuda', not {option!r} "
            f"({reason})"
        ) from error
    return device


def on(device: torch.device) -> AbstractContextManager[object]:
    """New tensors are made on `device`; on the CPU they are anyway, and it costs nothing."""
    return nullcontext() if device == CPU else device
