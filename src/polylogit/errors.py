"""What can go wrong, as one tree.

```
PolylogitError
├── InputError (also ValueError)   what was handed in cannot be used; exit 2
│   ├── DataError                  a file or an array: names file, line or row, column
│   ├── SchemaError                a table that does not fit the columns a model knows
│   ├── TargetError                labels, probability targets, weights
│   ├── OptionError                an option outside its range, or unknown
│   └── ModelFileError             a model file that is damaged, foreign or too new
└── SolveError (also RuntimeError) the input is fine, the work failed; exit 1

PolylogitWarning (UserWarning)     the result stands, but there is something to know
```

Every message is one line that says what was asked, what arrived, why that cannot work and what to
try.

>>> nearest("acuracy", ["accuracy", "brier"])
"; did you mean 'accuracy'?"
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PolylogitError(Exception):
    """Base of every error raised on purpose by this package."""


class InputError(PolylogitError, ValueError):
    """What was handed in cannot be used."""


class DataError(InputError):
    """A file or an array cannot be read as data."""


class SchemaError(InputError):
    """A table does not fit the columns that a model knows."""


class TargetError(InputError):
    """Labels, probability targets or weights cannot be used."""


class OptionError(InputError):
    """An option is unknown or outside its range."""


class ModelFileError(InputError):
    """A model file is damaged, foreign, or newer than this program."""


class SolveError(PolylogitError, RuntimeError):
    """The input is fine and the work still failed."""


class PolylogitWarning(UserWarning):
    """The result stands, but there is something to know about it."""


def nearest(word: str, known: Iterable[str]) -> str:
    """A tail for a message that names the known word closest to `word`, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
