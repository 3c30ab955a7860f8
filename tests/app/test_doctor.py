"""`polylogit doctor`: files in, findings out, a status that scripts can act on."""

import json

import numpy as np
import pytest
import torch

from polylogit.app import cli
from polylogit.app.texts import doctor as text
from polylogit.diagnostics.doctor import doctor

rng = np.random.default_rng(0)
Z = rng.normal(size=(10, 3)) * 2
Y = rng.integers(0, 3, 10)
P = torch.softmax(torch.from_numpy(Z), 1).numpy()


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("good.npz", logits=Z, targets=Y)
    np.savez("bad.npz", p=P, y=Y)
    np.save("z.npy", Z)
    np.save("y.npy", Y)
    np.savetxt("y.csv", Y, header="y", comments="", fmt="%d")
    table = np.column_stack([P, Y])
    np.savetxt("p.csv", table, delimiter=",", header="a,b,c,label", comments="")


def typed(capsys, line):
    status = cli.run(line.split())
    return status, *capsys.readouterr()


@pytest.mark.parametrize("line", ["good.npz", "z.npy --targets y.npy", "z.npy --targets y.csv"])
def test_health_is_said_and_is_status_zero(capsys, line):
    status, out, _ = typed(capsys, f"doctor {line}")
    assert status == 0
    assert out.startswith("Nothing wrong: 10 rows of 3 classes")
    status, out, _ = typed(capsys, f"doctor {line} --json")
    assert json.loads(out)["loss"] == pytest.approx(doctor(Z, Y).loss)


@pytest.mark.parametrize("line", ["bad.npz", "p.csv --target label"])
def test_a_misuse_is_shown_with_its_effect_and_is_status_one(capsys, line):
    status, out, _ = typed(capsys, f"doctor {line}")
    finding = doctor(P, Y).findings[0]
    assert status == 1
    assert "softmax is applied twice" in out
    assert finding.fix in out
    assert f"{finding.effect['right']:.6g}" in out
    status, out, _ = typed(capsys, f"doctor {line} --kind probabilities --json")
    assert (status, json.loads(out)["findings"]) == (0, [])


def test_in_korean(capsys):
    _, out, _ = typed(capsys, "doctor bad.npz --lang ko")
    assert "소프트맥스가 두 번 적용된다" in out


def test_without_targets_it_says_so(capsys):
    status, out, _ = typed(capsys, "doctor z.npy")
    assert status == 0
    assert "no targets were given" in out


def test_the_losss_options(capsys):
    status, out, _ = typed(capsys, "doctor good.npz --weight 1,5,0.1")
    assert status == 0
    assert "divides by the weights of the rows" in out
    status, out, _ = typed(capsys, "doctor good.npz --weight 1,5,0.1 --label-smoothing 0.1")
    assert status == 1
    assert "label smoothing" in out


def test_every_finding_has_its_words_in_both_languages():
    from diagnostics.test_doctor import PLANTED

    for words in text.WORDS.values():
        assert words["en"].keys() == words["ko"].keys()
    assert text.WORDS["findings"]["en"].keys() == {*PLANTED, "softmax_in_model"}
    for given, options in PLANTED.values():
        answer = doctor(*given, **options).to_json()
        for lang in ("en", "ko"):
            assert all(text._lines(finding, lang) for finding in answer["findings"])


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("doctor model.pt", "is a pickle, which may run code"),
        ("doctor none.npy", "there is no such file"),
        ("doctor odd.xyz", "reads .npy, .npz, .csv and .tsv"),
        ("doctor broken.npy", "no file of arrays"),
        ("doctor other.npz", "holds a; name the scores 'logits'"),
        ("doctor words.csv", "column 'w' holds string, not numbers"),
        ("doctor p.csv --target lable", "has no column 'lable' (columns: a, b, c, label)"),
        ("doctor good.npz --weight 1,x", "--weight must be numbers"),
        ("doctor good.npz --kind logit", "kind must be 'logits'"),
        ("doctor good.npz --lang de", "--lang must be en or ko"),
        ("doctor y.npy", "single row|at least|scores"),
    ],
)
def test_what_cannot_be_read_is_one_line(capsys, line, says):
    for name, content in (("odd.xyz", "1"), ("broken.npy", "x"), ("words.csv", "w\na\n")):
        with open(name, "w", encoding="utf-8") as file:
            file.write(content)
    np.savez("other.npz", a=Z)
    if line == "doctor y.npy":
        np.save("y.npy", np.zeros((2, 2, 2)))
    status, out, err = typed(capsys, line)
    assert (status, out) == (2, "")
    assert any(word in err for word in says.split("|"))
    assert err.count("\n") == 1
