"""What a reader does who copies a value as Python: run it, and compare."""

import torch


def rerun(line, name):
    """The tensor that the script of a line makes."""
    scope = {}
    exec(line["python"].rsplit("print(", 1)[0], scope)  # noqa: S102
    return torch.as_tensor(scope[name])


def assert_reproduced(lines):
    """Every script gives the digits that the page prints, to the last of nine."""
    from polylogit.app.lab.value import each, long

    for name, line in lines.items():
        again = rerun(line, name)
        assert list(again.shape) == line["shape"], name
        assert str(again.dtype) == f"torch.{line['dtype']}", name
        assert each(long, again.tolist()) == line["long"], name
