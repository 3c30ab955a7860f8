"""`polylogit.app.cli`: what a shell sees: two streams, one status, signals, and no traceback."""

import csv
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import polylogit
from polylogit.app import cli, terminal
from polylogit.app.commands import fit as fit_command
from polylogit.app.commands import path as path_command
from polylogit.app.doors import options
from polylogit.app.doors import path as path_door
from polylogit.data.examples import EXAMPLES
from polylogit.errors import DataError, ModelFileError, OptionError, SolveError, TargetError
from polylogit.optim.settings import SOLVERS
from polylogit.version import __version__

COMMANDS = ["fit", "path", "predict", "evaluate"]
HEAVY = {"torch", "numpy", "scipy", "sklearn", "pyarrow", "narwhals", "safetensors", "pandas"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(folder, capsys):
    """Run a line in this process: status, stdout, stderr."""

    def line(text):
        return cli.run(text.split()), *capsys.readouterr()

    return line


def shell(text, **options):
    """Run a line of the shell, where `polylogit` is this one."""
    text = text.replace("polylogit", f"'{sys.executable}' -m polylogit")
    done = subprocess.run(
        ["bash", "-c", text], capture_output=True, text=True, timeout=120, **options
    )
    assert "Traceback" not in done.stderr
    return done


# ---------------------------------------------------------------------------------- the main job


def test_fit_predict_and_evaluate_the_penguins(run, folder):
    status, out, err = run("fit penguins --target species --model m.safetensors --json")
    found = json.loads(out)
    assert (status, err) == (0, "")
    assert (found["n_rows"], found["n_train"], found["n_features"]) == (344, 275, 15)
    assert found["classes"] == ["Adelie", "Chinstrap", "Gentoo"]
    assert (found["source"], found["model"]) == ("penguins", "m.safetensors")
    assert found["C"] == min(found["C_table"], key=lambda line: line["loss"])["C"]
    assert found["C_note"] == f"the lowest leave-one-out loss of {len(found['C_table'])} values"
    assert found["certified"]
    assert 0 <= found["gap"] <= 1e-6
    assert 0 < found["objective"] < 0.1
    assert found["seconds"] > 0
    assert found["passes"] > 0
    assert found["status"].startswith("Within ")
    held = found["holdout"]
    assert held["accuracy"] > 0.95
    assert 0 < held["log_loss"] < 0.1
    assert 0 < held["brier"] < 0.1
    assert held["macro_f1"] > 0.95
    assert np.sum(held["confusion"], 1).tolist() == [30, 14, 25]

    status, out, err = run("predict m.safetensors penguins --output p.csv")
    assert status == 0
    assert out == "344 rows predicted: 152 Adelie, 68 Chinstrap, 124 Gentoo; saved to p.csv\n"
    assert err.startswith("note: missing cells, filled: bill_length_mm 2, ")
    rows = pd.read_csv("p.csv")
    assert list(rows) == ["prediction", "p_Adelie", "p_Chinstrap", "p_Gentoo"]
    assert len(rows) == 344

    status, out, err = run("evaluate m.safetensors penguins --target species --json")
    scores = json.loads(out)
    assert (status, err) == (0, "")
    assert (scores["n_rows"], scores["source"]) == (344, "penguins")
    assert scores["accuracy"] == pytest.approx((rows.iloc[:, 0] == penguins()["species"]).mean())
    assert sorted(os.listdir(folder)) == ["m.safetensors", "p.csv"]


def penguins():
    return pd.read_csv(EXAMPLES["penguins"].path)


def test_the_text_of_a_fit(run):
    status, out, err = run("fit penguins --target species --model m.safetensors")
    lines = out.splitlines()
    assert status == 0
    assert err.startswith("note: missing cells, filled: ")
    assert lines[0] == "275 rows, 15 features, 3 classes"
    said = r"C = 3.16228 \(the lowest leave-one-out loss of (\d+) values\), objective 0.01\d+ nats "
    values = re.match(said, lines[1])
    assert lines[2].startswith("Within ")
    assert lines[3].split()[:3] == ["C", "train", "loss"]
    tried = lines[4 : 4 + int(values[1])]
    assert [line.split()[1] for line in tried if line.startswith("*")] == ["3.16"]
    held = lines[4 + len(tried) :]
    assert held[:2] == ["", "On 69 rows held out, not used for the fit:"]
    assert [line.split()[0] for line in held[2:6]] == ["accuracy", "log", "Brier", "macro"]
    assert held[6] == "rows: truth, columns: prediction"
    assert held[7].split() == ["Adelie", "Chinstrap", "Gentoo"]
    assert held[8].split()[0] == "Adelie"
    assert lines[-1] == "Saved to m.safetensors. Next: polylogit predict m.safetensors DATA"


def test_the_text_of_an_evaluation(run):
    run("fit lesson --target y --model m.safetensors --holdout 0 --C 1")
    status, out, err = run("evaluate m.safetensors lesson")
    assert (status, err) == (0, "")
    assert out.splitlines()[:2] == ["m.safetensors on 8 rows of lesson:", "accuracy     1.0000"]


def test_rows_on_stdout_are_a_table_and_nothing_else(run):
    run("fit penguins --target species --model m.safetensors")
    status, out, err = run("predict m.safetensors penguins")
    header, *rows = csv.reader(out.splitlines())
    assert status == 0
    assert header == ["prediction", "p_Adelie", "p_Chinstrap", "p_Gentoo"]
    assert {len(row) for row in rows} == {4}
    assert len(rows) == 344
    assert err.startswith("note: missing cells")
    run("predict m.safetensors penguins --output p.csv")
    with open("p.csv", newline="") as file:
        assert file.read() == out


def test_rows_as_json(run):
    run("fit lesson --target y --model m.safetensors --holdout 0 --C 1")
    status, out, err = run("predict m.safetensors lesson --json")
    found = json.loads(out)
    assert (status, err) == (0, "")
    assert found["prediction"] == [2, 2, 2, 1, 1, 1, 0, 0]
    np.testing.assert_allclose(np.sum(found["probabilities"], 1), 1)
    assert np.argmax(found["probabilities"], 1).tolist() == found["prediction"]
    summary = json.loads(run("predict m.safetensors lesson --json --output p.csv")[1])
    del found["prediction"], found["probabilities"]
    assert summary == {**found, "output": "p.csv"}


def test_json_is_one_line_of_ascii(run, folder):
    (folder / "a.csv").write_text("größe,y\n1,ä\n2,ö\n3,ä\n2,ö\n", encoding="utf-8")
    status, out, _ = run("fit a.csv --target y --json")
    assert status == 0
    assert out.isascii()
    assert out.count("\n") == 1
    assert json.loads(out)["classes"] == ["ä", "ö"]


@pytest.mark.parametrize("command", ["predict", "explain", "doctor"])
def test_what_fits_nothing_does_not_wait_for_the_solvers(command):
    code = (
        f"import sys, polylogit.app.commands.{command}; "
        "print([name for name in sys.modules if name.startswith('polylogit.optim')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "[]\n")


def test_every_option_reaches_the_request(monkeypatch, run):
    seen = []
    monkeypatch.setattr(fit_command, "fit", lambda *asked: seen.append(asked[0]) or {})
    monkeypatch.setattr(terminal, "fit_text", lambda _: None)
    run(
        "fit d --target t --model m --C 3 --l1-ratio 0.25 --holdout 0.5 --refit --weights w "
        "--class-weight balanced --label-smoothing 0.1 --no-intercept --categorical a "
        "--categorical b --ignore c --ignore d --delimiter ; --tol 1e-3 --max-iter 7 "
        "--solver newton --threads 2 --seed 9 --penalty-factor a=0.5 --penalty-factor b=1=2 "
        "--checkpoint c.ckpt --group g --rule one-standard-error --device cpu"
    )
    assert seen == [
        fit_command.FitRequest(
            "d", "t", Path("m"), 3.0, l1_ratio=0.25, holdout=0.5, refit=True,
            weights="w", class_weight="balanced", label_smoothing=0.1, intercept=False,
            categorical=("a", "b"), ignore=("c", "d"), delimiter=";", tol=1e-3, max_iter=7,
            solver="newton", n_threads=2, seed=9, penalty_factors={"a": 0.5, "b=1": 2.0},
            checkpoint=Path("c.ckpt"), group="g", rule="one-standard-error",
            device="cpu",
        )
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ("age", "--penalty-factor must be COLUMN=NUMBER, not 'age'"),
        ("age=x", "--penalty-factor must be COLUMN=NUMBER, not 'age=x'"),
        ("=2", "--penalty-factor must be COLUMN=NUMBER, not '=2'"),
        ("a=1 --penalty-factor a=2", "--penalty-factor gives 'a' two factors; keep one"),
        (
            "height=1",
            "--penalty-factor names 'height', which is no column of the data (columns: 'x1', 'x2', "
            "'x3', 'x4')",
        ),
    ],
)
def test_penalty_factors_as_they_are_typed(pairs, message, run):
    status, out, err = run(f"fit lesson --target y --holdout 0 --penalty-factor {pairs}")
    assert (status, out) == (2, "")
    assert err == f"error: {message}\n"


@pytest.mark.parametrize(("text", "value"), [("auto", "auto"), ("inf", np.inf), ("1e-3", 1e-3)])
def test_strengths_as_they_are_typed(text, value):
    assert options.number_or_auto(text) == value


def test_every_option_of_a_path_reaches_the_request(monkeypatch, run):
    seen = []
    monkeypatch.setattr(path_command, "path", lambda *asked: seen.append(asked[0]) or {})
    monkeypatch.setattr(terminal, "path_text", lambda _: None)
    run(
        "path d --target t --model m --Cs 1,10 --validation v.csv --protocol clip --weights w "
        "--class-weight balanced --label-smoothing 0.1 --no-intercept --categorical a "
        "--ignore c --delimiter ; --tol 1e-3 --max-iter 7 --solver newton --threads 2 --seed 9 "
        "--penalty-factor a=0.5 --l1-ratio 0.5 --memory 1GB --checkpoint c.ckpt --device cpu"
    )
    shared = fit_command.FitRequest(
        "d", "t", Path("m"), "auto", l1_ratio=0.5, holdout=0.0, refit=False, weights="w",
        class_weight="balanced", label_smoothing=0.1, intercept=False, categorical=("a",),
        ignore=("c",), delimiter=";", tol=1e-3, max_iter=7, solver="newton", n_threads=2,
        seed=9, penalty_factors={"a": 0.5}, memory="1GB", checkpoint=Path("c.ckpt"),
        device="cpu",
    )  # fmt: skip
    assert seen == [path_command.PathRequest(shared, (1.0, 10.0), "v.csv", "clip")]


@pytest.mark.parametrize(
    ("typed", "part"), [("", 0.2), ("--protocol dino", 0.1), ("--validation 0.3", 0.3)]
)
def test_rows_to_judge_on_as_they_are_typed(typed, part, monkeypatch, run):
    seen = []
    monkeypatch.setattr(path_command, "path", lambda *asked: seen.append(asked[0]) or {})
    monkeypatch.setattr(terminal, "path_text", lambda _: None)
    run(f"path d --target t {typed}")
    assert (seen[0].fit.holdout, seen[0].validation, seen[0].Cs) == (part, None, None)


def test_strengths_of_a_path_as_they_are_typed():
    assert path_door._strengths(None) is None
    assert path_door._strengths("0.1,inf") == (0.1, np.inf)
    assert path_door._strengths("2:5:1") == (2.0,)
    np.testing.assert_allclose(path_door._strengths("1e-6:1e5:45"), 10.0 ** np.linspace(-6, 5, 45))
    for wrong in ("", "a", "1:2", "0:1:3", "1:-1:3", "1:2:0", "1:2:2.5", "1:inf:3", "1:2:3:4"):
        with pytest.raises(OptionError, match="--Cs must be FIRST:LAST:COUNT, as in 1e-6:1e5:45"):
            path_door._strengths(wrong)


def test_a_path_as_text_and_as_json(run, folder):
    status, out, err = run("path penguins --target species --Cs 1e-3:1e3:4 --model m --quiet")
    assert status == 0
    assert out.startswith("275 rows, judged on 69 others, 15 features, 3 classes\n")
    assert re.search(r"^ +C +train loss +gap +passes +seconds +loss +top-1 +top-5 +per class$", out,
                     re.MULTILINE)  # fmt: skip
    assert len(re.findall(r"^\*", out, re.MULTILINE)) == 1
    assert re.search(r"^4 fits, each certified: \d+ passes, .* s\nBest by loss: C = 1000$", out,
                     re.MULTILINE)  # fmt: skip
    assert "Saved to m. Next: polylogit predict m DATA" in out
    assert "note: the best C is the first or last of those tried" in err
    summary = json.loads(run("path penguins --target species --Cs 1e-3:1e3:4 --json")[1])
    assert summary["C"] == pytest.approx(1000)
    assert (summary["best"], summary["model"], summary["refit"]) == (3, None, None)
    assert [point["C"] for point in summary["table"]] == pytest.approx([1e-3, 0.1, 10, 1000])
    assert polylogit.load("m").record["n_rows"] == 344


def test_ignored_columns_are_not_read(run, folder):
    (folder / "a.csv").write_text("x,y,junk\n1,a,1\n2,b,2\n3,a,3\n2,b,4\n")
    (folder / "b.csv").write_text('x,y,junk\n1,a,1\n2,b,2\n3,a,"3,5"\n')
    run("fit a.csv --target y --ignore junk --model m.safetensors")
    # what the model does not know is left alone, named or not
    for command, option in itertools.product(("predict", "evaluate"), ("", " --ignore junk")):
        status, out, _ = run(f"{command} m.safetensors b.csv --json{option}")
        assert (status, json.loads(out)["ignored"]) == (0, ["junk"])


# ------------------------------------------------------------------------------------------ help


def test_without_arguments_the_help_is_printed_and_the_status_says_that_nothing_was_done(run):
    status, out, err = run("")
    assert (status, err) == (2, "")
    assert out.startswith("Usage: polylogit ")
    assert out == run("--help")[1]
    assert all(f"\n  {name} " in out for name in COMMANDS)


def test_help_and_version_load_nothing_heavy():
    code = f"""
    import sys
    from polylogit.app.cli import run
    for line in {[["--help"], *([name, "--help"] for name in COMMANDS), ["-h"], ["--version"]]}:
        assert run(line) == 0, line
    print("HEAVY", sorted({HEAVY} & set(sys.modules)))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("Usage: polylogit") == len(COMMANDS) + 2
    assert done.stdout.endswith(f"polylogit {__version__}\nHEAVY []\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name, run):
    status, out, err = run(f"{name} --help")
    assert (status, err) == (0, "")
    assert f"Usage: polylogit {name} [OPTIONS]" in out
    for word in ("DATA", "--json", "--quiet", "--delimiter", "--ignore"):
        assert word in out
    assert ("MODEL" in out) == (name not in {"fit", "path"})


def test_the_help_names_every_solver(run):
    text = " ".join(run("fit --help")[1].split())
    assert f"--solver NAME {', '.join(SOLVERS)}." in text


# ----------------------------------------------------------------------------------- every failure


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (DataError("a.csv: line 3"), 2, "a.csv: line 3"),
        (TargetError("two\nlines\t\udcff"), 2, "two lines \\udcff"),
        (OptionError("leave it out (ignore)"), 2, "leave it out (--ignore)"),
        (ModelFileError("m: damaged"), 2, "m: damaged"),
        (SolveError("the objective became nan"), 1, "the objective became nan"),
        (KeyboardInterrupt(), 130, "stopped by hand; no file was left half-written"),
        (MemoryError(), 1, "not enough memory; use fewer rows or columns"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 8 EiB"),
            1,
            "not enough memory; use fewer rows or columns",
        ),
        (OSError(5, "Input/output error", "disk"), 1, "disk: Input/output error"),
        (
            OSError(28, "No space left on device"),
            1,
            "the results cannot be written to standard output: No space left on device",
        ),
        (
            ZeroDivisionError("x"),
            1,
            "unexpected ZeroDivisionError: x; this is a bug: please report it, with the output of "
            "the same command under POLYLOGIT_DEBUG=1",
        ),
    ],
)
def test_every_failure_is_one_line_and_a_status(error, status, message, monkeypatch, run):
    def fail(request, watch):
        raise error

    dropped = []
    monkeypatch.setattr(fit_command, "fit", fail)
    monkeypatch.setattr(cli, "_drop_output", lambda: dropped.append(True))
    assert run("fit penguins") == (status, "", f"error: {message}\n")
    assert any(dropped) == isinstance(error, OSError)  # or the interpreter would fail at its end


def test_a_bug_shows_itself_on_request(monkeypatch, run):
    monkeypatch.setattr(fit_command, "fit", lambda *_: 1 / 0)
    monkeypatch.setenv("POLYLOGIT_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        run("fit penguins")


def test_main_exits_with_the_status(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["polylogit", "fit"])
    monkeypatch.setattr(cli, "_prepare_process", lambda: None)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2


# -------------------------------------------------------------------------- stdout and stderr


@pytest.fixture
def model(run):
    run("fit penguins --target species --model m.safetensors")
    return "m.safetensors"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("line", ["--help", "predict {} penguins --quiet"])
def test_a_full_disk_behind_stdout_is_a_failure(line, model):
    done = shell(f"polylogit {line.format(model)} > /dev/full")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "error: the results cannot be written to standard output: No space left on device\n"
    )


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_behind_stderr_costs_no_result():
    done = shell("polylogit fit penguins --target species 2> /dev/full")
    assert (done.returncode, "On 69 rows held out" in done.stdout) == (0, True)
    assert shell("polylogit fit 2> /dev/full").returncode == 2


@pytest.mark.parametrize("line", ["predict {} penguins", "evaluate {} penguins"])
def test_a_reader_who_has_seen_enough_is_not_complained_about(line, model):
    done = shell(f"polylogit {line.format(model)} --quiet | true; echo ${{PIPESTATUS[0]}}")
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_closed_streams():
    done = shell("polylogit fit lesson --target y >&-")
    assert done.returncode == 1
    assert done.stderr == "error: standard output is closed, so there is no place for results\n"
    done = shell("polylogit fit lesson --target y --json 2>&-")
    assert (done.returncode, json.loads(done.stdout)["certified"]) == (0, True)
    assert shell("polylogit fit 2>&-").returncode == 2


def test_rows_are_utf8_whatever_the_locale_says(run, folder):
    (folder / "ä.csv").write_text("x,y\n1,ä\n2,ä\n3,🌹\n4,🌹\n", encoding="utf-8")
    run("fit ä.csv --target y --model m --holdout 0")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    command = [sys.executable, "-m", "polylogit", "predict", "m", "ä.csv", "--quiet"]
    done = subprocess.run(command, capture_output=True, timeout=120, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode("utf-8").startswith("prediction,p_ä,p_🌹\nä,0.")


# -------------------------------------------------------------------------------------- signals

SLOW = """
import sys, time
from polylogit.app import cli, terminal

terminal.LOG_EVERY = 0.0
told = terminal._Log.step

def step(self, now):
    told(self, now)
    time.sleep(0.5)

terminal._Log.step = step
sys.argv[0] = "polylogit"
cli.main()
"""


def interrupted(line, number):
    """Run a fit of slow steps; send a signal once it tells of its third."""
    child = subprocess.Popen(
        [sys.executable, "-c", SLOW, *line.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for told in child.stderr:
            if told.startswith("fitting: step 2,"):
                break
        child.send_signal(number)
        out, err = child.communicate(timeout=60)
    finally:
        child.kill()
        child.wait()
    assert "Traceback" not in err
    return child.returncode, out, err


def test_ctrl_c_saves_the_best_model_so_far_marked_as_not_converged(folder):
    status, out, err = interrupted(
        "fit penguins --target species --model m.safetensors --refit --json", signal.SIGINT
    )
    found = json.loads(out)
    assert status == 130
    assert err.splitlines()[-1] == (
        "note: stopped by hand; the model so far is not the optimum, it is in m.safetensors"
    )
    assert (found["interrupted"], found["certified"], found["refit"]) == (True, False, False)
    assert found["status"].endswith(
        "Stopped by hand; this is the best model so far, not the optimum."
    )
    assert found["gap"] > 1e-6
    assert found["holdout"]["accuracy"] > 0.5
    model = polylogit.load(folder / "m.safetensors")
    assert model.record["status"] == found["status"]
    assert model.record["certified"] is False
    assert os.listdir(folder) == ["m.safetensors"]


def test_ctrl_c_without_a_file_to_save_to(folder):
    status, out, err = interrupted("fit penguins --target species", signal.SIGINT)
    assert status == 130
    assert "Stopped by hand; this is the best model so far, not the optimum." in out
    assert err.splitlines()[-1] == (
        "note: stopped by hand; the model so far is not the optimum, nothing was saved"
    )


def test_sigterm_leaves_no_traceback_and_no_litter(folder):
    (folder / "m.safetensors").write_bytes(b"old")
    status, out, err = interrupted(
        "fit penguins --target species --model m.safetensors", signal.SIGTERM
    )
    assert (status, out) == (143, "")
    assert all(line.startswith(("starting", "reading", "fitting")) for line in err.splitlines())
    assert os.listdir(folder) == ["m.safetensors"]
    assert (folder / "m.safetensors").read_bytes() == b"old"
