"""Files a command reads from and writes to."""

from __future__ import annotations

import os
from pathlib import Path

from polylogit import serialization, storage
from polylogit.app.terminal import Watch
from polylogit.errors import ModelFileError, OptionError
from polylogit.model import SoftmaxModel


def check_output(option: str, path: Path | None, *inputs: str | Path) -> None:
    """Refuse a file that cannot be written, or whose content would be lost."""
    if path is None:
        return
    for source in inputs:
        if path.exists() and Path(source).exists() and os.path.samefile(path, source):
            raise OptionError(f"{option} {path} would overwrite what is read; name another file")
    storage.check_destination(path)


def as_text(path: Path | None) -> str | None:
    """A path as JSON has it."""
    return None if path is None else str(path)


def load_model(path: Path, watch: Watch) -> SoftmaxModel:
    """The model in a file; a calibrator of foreign scores is none, for it knows no rows."""
    watch.stage(f"loading {path}")
    model = serialization.load(path)
    if model.is_calibrator:
        raise ModelFileError(
            f"model file {path}: a calibrator of another model's scores, which knows no rows; "
            "polylogit predict takes it, with a file of such scores"
        )
    return model
