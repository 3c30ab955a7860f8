"""What the tests of the readers share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polylogit.errors import InputError


@pytest.fixture
def refusal() -> Callable[..., str]:
    """Calls what must be refused; returns the message, which is one printable line."""

    def message(
        kind: type[InputError], call: Callable[..., Any], *args: Any, **options: Any
    ) -> str:
        with pytest.raises(kind) as caught:
            call(*args, **options)
        assert type(caught.value) is kind
        text = str(caught.value)
        assert text.isprintable()
        return text

    return message


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, bytes | str], Path]:
    """Writes a file into an empty working folder; returns its bare name, so messages are short."""
    monkeypatch.chdir(tmp_path)

    def write(name: str, content: bytes | str) -> Path:
        path = Path(name)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write
