"""`polylogit.app.lab.export`: the page in a folder, with the library's own answers."""

import json

import pytest

from polylogit.app import cli
from polylogit.app.lab import export as baking
from polylogit.app.lab.die import DieRequest, die
from polylogit.app.lab.page import PAGE
from polylogit.errors import OptionError


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "site"
    return folder, baking.export(folder)


def test_every_file_of_the_page_is_there(site):
    folder, _ = site
    for path in PAGE.rglob("*"):
        assert (folder / path.relative_to(PAGE)).exists()
    assert 'content="baked"' in (folder / "index.html").read_text()
    assert 'content="live"' not in (folder / "index.html").read_text()


def test_answers_are_the_librarys(site):
    folder, told = site
    baked = json.loads((folder / baking.BAKED).read_text("utf-8"))
    assert told == {
        "answers": sum(map(len, baked.values())),
        "bytes": (folder / baking.BAKED).stat().st_size,
    }
    for one in baked["die"][::9]:
        assert one["answer"] == json.loads(json.dumps(die(DieRequest(**one["body"]))))
    assert {one["body"]["data"] for one in baked["boundary/train"]} == {
        "blobs",
        "separable",
        "ring",
        "penguins",
    }
    assert all(len(one["answer"]["lines"]) > 1 for one in baked["boundary/train"])


def test_it_can_be_written_again_but_not_over_other_files(site, tmp_path):
    folder, _ = site
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(OptionError, match="holds other files"):
        baking.export(tmp_path)
    with pytest.raises(OptionError, match="is a file"):
        baking.export(tmp_path / "thesis.tex")
    baking._check(folder)


def test_the_door_reports(monkeypatch, capsys, tmp_path):
    from polylogit.app.lab import export

    monkeypatch.setattr(export, "export", lambda _: {"answers": 2, "bytes": 3})
    assert cli.run(["lab", "--export", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "folder": str(tmp_path),
        "answers": 2,
        "bytes": 3,
    }
    assert cli.run(["lab", "--export", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("2 baked answers, 3 bytes in")
