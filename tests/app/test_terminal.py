"""`polylogit.app.terminal`: what a person sees while it works, and when it is done."""

import contextlib
import math
import os
import pty
import re
import subprocess
import sys
import time

import pytest

from polylogit.app import terminal
from polylogit.optim.problem import Progress

SUMMARY = {
    "source": "a.csv",
    "n_rows": 10,
    "n_train": 8,
    "n_features": 1,
    "classes": ["a", "b"],
    "C": None,
    "C_note": None,
    "C_table": [],
    "objective": 0.5,
    "status": "Within 1e-9 nats.",
    "holdout": None,
    "refit": False,
    "model": None,
    "missing": {},
    "unseen": {},
    "ignored": [],
}
CANDIDATE = {
    "C": 0.01,
    "train_loss": 0.25,
    "loss": 0.5,
    "standard_error": None,
    "accuracy": 0.75,
    "effective_dof": 1.25,
}
SCORES = {
    "n_rows": 2,
    "accuracy": 0.5,
    "log_loss": 0.25,
    "brier": 0.125,
    "macro_f1": 1 / 3,
    "confusion": [[1, 0], [1, 0]],
}


def step(iteration, gap, objective=0.25):
    return Progress(iteration, 3 * iteration, objective, gap, 0.1)


# ------------------------------------------------------------------------------------ progress


def test_nothing_is_shown_of_quick_work_into_a_file(capsys):
    with terminal.watching() as watch:
        watch.stage("reading a.csv")
        watch.step(step(0, 1.0))
    assert capsys.readouterr() == ("", "")


def test_long_work_leaves_lines_in_a_file(capsys, monkeypatch):
    monkeypatch.setattr(terminal, "LOG_EVERY", 0.0)
    with terminal.watching() as watch:
        watch.stage("reading [b]a.csv")
        watch.step(step(2, 1e-3))
        watch.step(step(3, math.inf))
    assert capsys.readouterr() == (
        "",
        "reading [b]a.csv\n"
        "fitting: step 2, 6 passes, objective 0.250000, gap 1.0e-03\n"
        "fitting: step 3, 9 passes, objective 0.250000, gap unknown\n",
    )


def test_lines_keep_their_distance_in_time(capsys, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    with terminal.watching() as watch:
        for iteration in range(50):
            clock[0] = float(iteration)
            watch.step(step(iteration, 1.0))
    told = [int(n) for n in re.findall(r"step (\d+)", capsys.readouterr().err)]
    assert told == [10, 20, 30, 40]


def test_quiet_is_quiet(capsys, monkeypatch):
    monkeypatch.setattr(terminal, "LOG_EVERY", 0.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(terminal, "PATIENCE", 0.0)
    with terminal.watching(shown=False) as watch:
        watch.stage("reading")
        watch.step(step(1, 1.0))
        time.sleep(0.05)
    assert capsys.readouterr() == ("", "")


def paced(gaps, tol=1e-6, seconds=2.0):
    """What is left after each gap, by steps of so many seconds."""
    pace = terminal.Pace(tol)
    return [pace.left(Progress(i, i, 0.25, gap, seconds * i)) for i, gap in enumerate(gaps)]


def test_the_time_left_is_that_of_the_pace_so_far():
    assert paced([1.0]) == [None]
    left = paced([1.0, 1e-1, 1e-2, 1e-3])
    assert left[1:] == pytest.approx([10.0, 8.0, 6.0])  # a tenth in 2 s
    assert paced([1.0, 1e-7])[-1] == 0.0
    assert paced([1.0, 2.0, 1.0]) == [None, None, None]
    assert paced([1.0, math.inf, 0.0]) == [None, None, None]


def test_only_the_last_steps_count_for_the_pace():
    slow, fast = [1.0] * 20, [10.0**-n for n in range(terminal.PACE)]
    assert paced([*slow, *fast], tol=1e-20)[-1] == pytest.approx(2.0 * (21 - terminal.PACE))


def test_another_fit_has_another_pace():
    pace = terminal.Pace(1e-6)
    for i in range(4):
        pace.left(Progress(i, i, 0.25, 10.0**-i, 5.0 * i))
    assert pace.left(Progress(0, 1, 0.25, 1e-2, 0.1)) is None  # its clock began anew
    assert pace.left(Progress(1, 2, 0.25, 1e-3, 0.2)) == pytest.approx(0.3)


def test_lines_tell_the_time_left(capsys, monkeypatch):
    monkeypatch.setattr(terminal, "LOG_EVERY", 0.0)
    with terminal.watching(1e-6) as watch:
        watch.step(Progress(0, 1, 0.5, 1.0, 0.0))
        watch.step(Progress(1, 3, 0.25, 1e-1, 60.0))
    assert capsys.readouterr().err.splitlines()[-1] == (
        "fitting: step 1, 3 passes, objective 0.250000, gap 1.0e-01, about 5 min left"
    )


@pytest.fixture
def bar(monkeypatch):
    """A bar that never gets to the screen."""
    monkeypatch.setattr(terminal, "PATIENCE", 1000.0)
    bar = terminal._Bar(1e-6)
    yield bar
    bar.close()


@pytest.mark.parametrize(
    ("gaps", "done"),
    [
        ([1.0], 0.0),
        ([1.0, 1e-3], 0.5),
        ([1.0, 1e-6], 1.0),
        ([1.0, 1e-9], 1.0),
        ([1.0, 10.0], 0.0),
        ([1.0, 0.0], 0.0),
        ([math.inf, 1e-2, 1e-4], 0.5),
        ([math.inf, math.inf], 0.0),
        ([1e-7, 1e-8], 0.0),
        ([1e-3, math.inf], 0.0),
    ],
)
def test_the_bar_is_the_way_of_the_gap_to_its_tolerance(gaps, done, bar):
    for iteration, gap in enumerate(gaps):
        bar.step(step(iteration, gap))
    task = bar.bar.tasks[0]
    assert (task.total, task.completed) == (1.0, pytest.approx(done, abs=1e-12))
    assert task.description.startswith(f"fitting: step {len(gaps) - 1}, ")


def test_every_fit_has_its_own_way(bar):
    bar.stage("fitting 10 rows")
    bar.step(step(0, 1.0))
    bar.step(step(1, 1e-6))
    bar.stage("fitting 12 rows")
    assert bar.bar.tasks[0].total is None
    bar.step(step(0, 1e-2))
    assert bar.bar.tasks[0].completed == 0.0
    bar.step(step(1, 1e-4))
    assert bar.bar.tasks[0].completed == pytest.approx(0.5)


def test_a_bar_that_never_began_leaves_nothing(capsys, bar):
    bar.stage("reading")
    bar.close()
    assert capsys.readouterr() == ("", "")


def at_a_terminal(code):
    """Run Python with a terminal for stderr: status, stdout, and all that the terminal got."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=theirs, text=True, env=environment
    ) as child:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # the other end is closed
            while more := os.read(ours, 4096):
                shown += more
        os.close(ours)
        out = child.stdout.read()
    return child.returncode, out, shown.decode()


def test_at_a_terminal_the_bar_moves_and_is_gone_in_the_end():
    code = """
    import sys, time
    from polylogit.app import terminal
    from polylogit.optim.problem import Progress

    terminal.PATIENCE = 0.0
    with terminal.watching(1e-6) as watch:
        watch.stage("reading [b]a.csv")
        time.sleep(0.5)
        watch.step(Progress(7, 20, 0.25, 1e-3, 0.1))
        time.sleep(0.5)
    print("done")
    """
    status, out, shown = at_a_terminal(re.sub(r"\n    ", r"\n", code))
    assert (status, out) == (0, "done\n")
    assert "reading [b]a.csv" in shown
    assert "fitting: step 7, 20 passes, objective 0.250000, gap 1.0e-03" in shown
    assert shown.index("reading") < shown.index("fitting")
    assert shown.endswith("\x1b[2K")  # the line is wiped


# ------------------------------------------------------------------------------------- results


def test_the_least_that_a_fit_says(capsys):
    terminal.fit_text(SUMMARY)
    assert capsys.readouterr() == (
        "8 rows, 1 feature, 2 classes\n"
        "C = inf (no penalty), objective 0.500000 nats per row\n"
        "Within 1e-9 nats.\n",
        "",
    )


def test_all_that_a_fit_says(capsys):
    more = {
        "C": 0.1,
        "C_note": "the lowest leave-one-out loss of 2 values",
        "C_table": [CANDIDATE, CANDIDATE | {"C": 0.1, "standard_error": 0.0625}],
        "holdout": SCORES,
        "model": "[i]m.safetensors",
        "missing": {"[x]": 3, "y": 1},
        "unseen": {"[x]": {"u": 2, "[v]": 1}},
        "ignored": ["[id]"],
    }
    terminal.fit_text({**SUMMARY, **more})
    out, err = capsys.readouterr()
    assert out == (
        "8 rows, 1 feature, 2 classes\n"
        "C = 0.1 (the lowest leave-one-out loss of 2 values), objective 0.500000 nats per row\n"
        "Within 1e-9 nats.\n"
        "      C  train loss  left out  std. error  accuracy  free params\n"
        "   0.01      0.2500    0.5000         inf    0.7500          1.2\n"
        "*   0.1      0.2500    0.5000      0.0625    0.7500          1.2\n"
        "\n"
        "On 2 rows held out, not used for the fit:\n"
        "accuracy     0.5000\n"
        "log loss     0.2500 nats\n"
        "Brier score  0.1250\n"
        "macro F1     0.3333\n"
        "rows: truth, columns: prediction\n"
        "   a  b\n"
        "a  1  0\n"
        "b  1  0\n"
        "\n"
        "Saved to [i]m.safetensors. Next: polylogit predict [i]m.safetensors DATA\n"
    )
    assert err == (
        "note: missing cells, filled: [x] 3, y 1\n"
        "note: column [x] holds categories that training never saw: 'u' (2 rows), '[v]' (1 rows)\n"
        "note: columns left out: [id]\n"
    )


def test_a_refit_is_said(capsys):
    terminal.fit_text({**SUMMARY, "holdout": SCORES, "refit": True})
    assert "On 2 rows held out, before the last fit on all rows:\n" in capsys.readouterr().out


def test_an_infinite_loss_is_a_word(capsys):
    terminal.fit_text({**SUMMARY, "holdout": {**SCORES, "log_loss": None}})
    assert "log loss     infinite\n" in capsys.readouterr().out


@pytest.mark.parametrize(("n_classes", "drawn"), [(12, True), (13, False)])
def test_a_wide_confusion_is_left_to_json(n_classes, drawn, capsys):
    counts = [[100_000 + i] * n_classes for i in range(n_classes)]
    names = [f"a long name of class {i}" for i in range(n_classes)]
    terminal.evaluate_text(
        {**SUMMARY, "model": "m", **SCORES, "classes": names, "confusion": counts}
    )
    out = capsys.readouterr().out
    assert out.startswith("m on 2 rows of a.csv:\naccuracy")
    assert ("rows: truth" in out) == drawn
    if drawn:  # one line a class, however narrow the terminal, and no count in pieces
        rows = out.splitlines()[-n_classes:]
        assert [row.split()[-n_classes:] for row in rows] == [
            [str(n) for n in row] for row in counts
        ]
        assert rows[0].startswith("a long name of …")


def test_labels_of_several_lines_keep_to_theirs(capsys):
    classes = ["two\nlines", "[b]"]
    terminal.predict_text({**SUMMARY, "classes": classes, "predicted": [3, 7], "output": "p.csv"})
    terminal.evaluate_text({**SUMMARY, "model": "m", **SCORES, "classes": classes})
    out = capsys.readouterr().out.splitlines()
    assert out[0] == r"10 rows predicted: 3 'two\nlines', 7 [b]; saved to p.csv"
    assert [row.split()[0] for row in out[-2:]] == [r"'two\nlines'", "[b]"]


def test_classes_that_were_not_predicted_are_not_listed(capsys):
    terminal.predict_text({**SUMMARY, "predicted": [0, 10], "output": "p.csv"})
    assert capsys.readouterr().out == "10 rows predicted: 10 b; saved to p.csv\n"


@pytest.mark.parametrize(
    ("model", "kept"), [(None, "nothing was saved"), ("m.safetensors", "it is in m.safetensors")]
)
@pytest.mark.parametrize(
    ("certified", "short"),
    [(True, "C may not be the best"), (False, "the model so far is not the optimum")],
)
def test_ctrl_c_is_said_on_stderr(certified, short, model, kept, capsys):
    terminal.interrupted({**SUMMARY, "model": model, "certified": certified})
    assert capsys.readouterr() == ("", f"note: stopped by hand; {short}, {kept}\n")


def test_notes_that_cannot_be_written_are_no_failure(monkeypatch, capsys):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys.stderr, "write", full)
    terminal.fit_text({**SUMMARY, "ignored": ["id"]})
    assert capsys.readouterr().out.startswith("8 rows, 1 feature")
