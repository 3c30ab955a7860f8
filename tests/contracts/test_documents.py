"""What README and docs show is run: Python blocks as they stand, commands with their output."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EVERY = [*ROOT.glob("README*.md"), *sorted((ROOT / "docs").glob("*.md"))]
TRANSLATED = [path for path in EVERY if path.name.endswith(".ko.md")]
DOCUMENTS = [path for path in EVERY if path not in TRANSLATED]  # which translations repeat
PASSING = re.compile(
    r"(?<=after )\d+ passes|(?<=in )[\d.e-]+ s|(?<=[Ww]ithin )[\d.e-]+ nats|(?<=objective )[\d.]+"
)


def blocks(path, language):
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)


def talks(path):
    """(Python block, what it is shown to print or None)."""
    pattern = r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```$)?"
    return re.findall(pattern, path.read_text(), re.MULTILINE | re.DOTALL)


def steps(block):
    """(command, expected output) pairs of a console block."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command.split("#")[0].strip(), output


def settled(text):
    """Without what differs from run to run: seconds, passes, the last digits of a gap."""
    return [line.rstrip() for line in PASSING.sub("...", text).strip().splitlines()]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_python_blocks_run(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "tests" / "files" / "version-1.safetensors", "model.safetensors")
    namespace = {}
    for block, shown in talks(path):
        capsys.readouterr()
        exec(compile(block, str(path), "exec"), namespace)  # noqa: S102  our own documents
        if shown:
            assert settled(capsys.readouterr().out) == settled(shown)


@pytest.mark.parametrize("path", TRANSLATED, ids=lambda path: path.name)
def test_a_translation_shows_the_same_code(path):
    original = path.with_name(path.name.replace(".ko.md", ".md"))
    for language in ("python", "console", "text", "sh"):
        assert blocks(path, language) == blocks(original, language)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_commands_print_what_is_shown(path, tmp_path):
    shown = [step for block in blocks(path, "console") for step in steps(block)]
    for command, expected in shown:
        if command.startswith("make "):
            assert f"\n{command.split()[1]}:" in (ROOT / "Makefile").read_text()
            continue
        name, *arguments = command.split()
        assert name == "polylogit"
        done = subprocess.run(
            [sys.executable, "-m", "polylogit", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        assert settled(done.stdout) == settled(expected)


def test_there_is_something_to_run():
    assert len(blocks(ROOT / "README.md", "python")) >= 3
    assert len(list(steps("".join(blocks(ROOT / "README.md", "console"))))) >= 5


def test_links_lead_somewhere():
    for path in EVERY:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text()):
            assert (path.parent / link).exists(), f"{path.name}: {link}"
