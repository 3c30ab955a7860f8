"""`--report`: a page that stands alone, whose numbers are the library's."""

import csv
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import beta, norm
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
from statsmodels.api import MNLogit

import polylogit
from polylogit.app import cli
from polylogit.app.commands.report import Trained, gather
from polylogit.app.commands.report.coverage import COVERAGES, coverage
from polylogit.app.commands.report.features import combinations, intervals
from polylogit.app.texts.report import features, fitting, korean, mistakes, trust
from polylogit.app.texts.report.page import page as whole_page
from polylogit.app.texts.report.words import WORDS
from polylogit.choice import RULES
from polylogit.data.examples import EXAMPLES
from polylogit.data.read import prepare, read_table, split
from polylogit.diagnostics.calibration import measure
from polylogit.diagnostics.conformal import conformal
from polylogit.diagnostics.explain import explain
from polylogit.optim.problem import Status


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def typed(capsys, line):
    status = cli.run(line.split())
    return status, *capsys.readouterr()


class Reader(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.tags, self.cells, self.attributes = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.cells.append(data.strip())


def read(name):
    return Reader(Path(name).read_text(encoding="utf-8"))


FIT = "fit penguins --target species --C 0.001 --report r.html --model m.safetensors --quiet"


def test_the_numbers_of_a_fit_are_those_of_the_rows_held_out(capsys):
    status, out, _ = typed(capsys, FIT)
    assert status == 0
    page, model = read("r.html"), polylogit.load("m.safetensors")
    _, held = split(
        read_table("penguins", target="species"), target="species", fraction=0.2, seed=0
    )
    data = prepare(held, target="species", schema=model.schema)
    log_p = model.log_probabilities(data.features).numpy()
    losses = -log_p[np.arange(data.n_rows), data.targets]
    accuracy = (log_p.argmax(1) == data.targets).mean()
    assert f"{losses.mean():.4f}" in page.cells
    assert f"{accuracy:.4f}" in page.cells
    assert f"accuracy     {accuracy:.4f}" in out
    found = measure(log_p, data.targets).top
    for value in (found.smooth_error, found.debiased_error, *found.curve.said, *found.curve.seen):
        assert f"{value:.4f}" in page.cells
    worst = int(losses.argmax())
    why = explain(model, data.features[worst])
    assert f"{why.decision} ({max(why.probabilities):.4f})" in page.cells
    assert any("held out from the fit" in cell for cell in page.cells)
    assert any(model.record["status"] in cell for cell in page.cells)


def judged(name="penguins", target="species"):
    """Log-probabilities and codes of the rows that `FIT` holds out."""
    model = polylogit.load("m.safetensors")
    _, held = split(read_table(name, target=target), target=target, fraction=0.2, seed=0)
    data = prepare(held, target=target, schema=model.schema)
    return model.log_probabilities(data.features).numpy(), data.targets


def test_sets_are_made_by_one_half_of_the_rows_held_out_and_counted_on_the_other(capsys):
    typed(capsys, FIT)
    log_p, codes = judged()
    order = np.random.default_rng(0).permutation(len(codes))
    made, counted = order[: (len(order) + 1) // 2], order[(len(order) + 1) // 2 :]
    p = np.exp(log_p)
    strange = np.sort(1 - p[made, codes[made]])
    cells = read("r.html").cells
    for asked in (0.8, 0.9, 0.95):
        rank = int(np.ceil((len(made) + 1) * asked))
        inside = 1 - p[counted] <= strange[rank - 1] + 1e-12
        inside[np.arange(len(counted)), p[counted].argmax(1)] = True
        low, high = beta.ppf([0.025, 0.975], rank, len(made) + 1 - rank)
        line = [
            f"{asked:g}",
            f"{inside.sum(1).mean():.2f}",
            f"{(inside.sum(1) == 1).mean():.4f}",
            f"{inside[np.arange(len(counted)), codes[counted]].mean():.4f}",
            f"{low:.3f} – {high:.3f}",
        ]
        start = cells.index(line[0], cells.index(WORDS["en"]["sets"]))
        assert cells[start : start + 5] == line
    assert any(f"from {len(made)} of these" in cell for cell in cells)


def test_sets_of_calibrated_rows_hold_the_truth_as_often_as_asked():
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.ones(4), size=8000)
    codes = (p.cumsum(1) < rng.random((8000, 1))).sum(1)
    found = coverage(p, codes)
    for one, asked in zip(found["sets"], COVERAGES, strict=True):
        error = np.sqrt(2 * asked * (1 - asked) / 4000)  # of the thresholds and of the count
        assert abs(one["holds_truth"] - asked) < 3 * error
        assert one["interval"][0] < asked < one["interval"][1]
        assert not one["full"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (f"{FIT} --holdout 0", "no_sets_training"),
        (f"{FIT} --holdout 0.02", "no_sets_few"),
    ],
)
def test_without_enough_rows_of_their_own_a_sentence_stands_for_the_sets(capsys, line, says):
    typed(capsys, line)
    cells = read("r.html").cells
    assert WORDS["en"][says] in cells
    assert WORDS["en"]["holds"] not in cells


def test_without_rows_of_their_own_sets_are_by_leave_one_out_and_called_approximate(capsys):
    line = "fit penguins --target species --holdout 0 --quiet --report r.html"
    typed(capsys, line)
    data = polylogit.read("penguins", target="species")
    left = polylogit.fit(data).left_out
    found = coverage(softmax(left.logits.numpy(), axis=1), data.targets)
    cells = read("r.html").cells
    for one in found["sets"]:
        low, high = one["interval"]
        numbers = f"{one['mean_size']:.2f}", f"{one['single']:.4f}", f"{one['holds_truth']:.4f}"
        assert in_a_row(cells, [f"{one['coverage']:g}", *numbers, f"{low:.3f} – {high:.3f}"])
    assert any(WORDS["en"]["nearly"] in cell for cell in cells)


def test_a_row_that_could_not_be_left_out_is_in_no_set():
    rows = np.random.default_rng(0).normal(size=(41, 2))
    data = polylogit.from_arrays(rows, np.repeat([0, 1, 2], [20, 20, 1]))
    outcome = polylogit.fit(data)
    found = gather(outcome.model, data, "training", Trained(outcome, data))["coverage"]
    assert outcome.left_out.excluded == (40,)
    assert found["n_made"] + found["n_judged"] == 40


@pytest.fixture
def thrice():
    """A file that holds every row three times, and says which rows are copies of one."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(81, 2))
    y = np.where(x[:, 0] + rng.normal(size=81) > 0, "a", "b")
    lines = (f"{u:.6f},{v:.6f},{y[who]},{who}\n" * 3 for who, (u, v) in enumerate(x))
    Path("thrice.csv").write_text("u,v,y,who\n" + "".join(lines), encoding="utf-8")


@pytest.mark.parametrize("more", ["--holdout 0.5", "--holdout 0", "--holdout 0.5 --refit"])
def test_rows_of_a_group_are_all_in_the_same_half(capsys, monkeypatch, thrice, more):
    made = []

    def spied(p, *rest, **options):
        made.append(p)
        return conformal(p, *rest, **options)

    monkeypatch.setattr(sys.modules[coverage.__module__], "conformal", spied)
    typed(capsys, f"fit thrice.csv --target y --group who --report r.html --quiet {more}")
    _, copies = np.unique(made[0].round(9), axis=0, return_counts=True)
    assert copies.tolist() == [3] * len(copies)
    assert abs(len(copies) - (81 if more == "--holdout 0" else 40) / 2) <= 1
    assert any(WORDS["en"]["whole_groups"] in cell for cell in read("r.html").cells)


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_where_no_groups_are_known_the_page_says_what_that_means(capsys, thrice, lang):
    line = "fit thrice.csv --target y --ignore who --model m.safetensors --report r.html --quiet"
    typed(capsys, f"{line} --lang {lang}")
    typed(capsys, f"evaluate m.safetensors thrice.csv --report e.html --json --lang {lang}")
    for page in ("r.html", "e.html"):
        assert any(WORDS[lang]["no_groups"] in cell for cell in read(page).cells)


def test_every_row_is_in_a_half_even_where_its_group_has_all_of_a_class():
    p, codes = np.full((40, 3), 1 / 3), np.repeat([0, 1, 2], [19, 19, 2])
    found = coverage(p, codes, np.repeat(np.arange(20), 2))
    assert found["n_made"] + found["n_judged"] == 40
    assert coverage(p, codes, np.zeros(40))["why"] == "few"


def test_rows_with_weights_are_told_that_sets_count_them_once():
    rows = np.random.default_rng(0).normal(size=(40, 2))
    once = WORDS["en"]["once"]
    for weights, told in ((None, False), (np.full(40, 2.0), True)):
        data = polylogit.from_arrays(rows, np.arange(40) % 2, sample_weight=weights)
        page = whole_page(gather(polylogit.fit(data, C=1.0).model, data, "data"), "en")
        assert (once in page) == told


def test_a_half_too_small_for_the_largest_sets_is_named():
    p = np.full((30, 2), 0.5)
    found = coverage(p, np.zeros(30, dtype=int))
    assert [one["full"] for one in found["sets"]] == [False, False, True]
    page = Reader(trust.sets({"coverage": found, "weighted": False}, WORDS["en"]))
    assert WORDS["en"]["full_sets"].format(rows=15) in page.cells


def test_every_class_has_a_diagram_whose_numbers_are_measured(capsys):
    typed(capsys, FIT)
    page, events = read("r.html"), measure(*judged()).classes
    labels = [value for name, value in page.attributes if name == "aria-label"]
    for name, event in zip(("Adelie", "Chinstrap", "Gentoo"), events, strict=True):
        numbers = (event.said, event.seen, event.smooth_error, event.debiased_error)
        assert in_a_row(page.cells, [name, *(f"{number:.4f}" for number in numbers)])
        curve = event.curve
        for said, seen, rows in zip(curve.said, curve.seen, curve.rows, strict=True):
            assert in_a_row(page.cells, [name, f"{said:.4f}", f"{seen:.4f}", f"{rows:g}"])
        (label,) = (text for text in labels if text.startswith(f"{name}: "))
        assert f"{curve.said[0]:.3g}: {curve.seen[0]:.3g}" in label


def in_a_row(cells, wanted):
    """Whether these cells of a table stand side by side."""
    filled = [cell for cell in cells if cell]
    return any(filled[i : i + len(wanted)] == wanted for i in range(len(filled)))


def test_long_names_are_numbered_where_they_would_stand_twice():
    def heads(names):
        scores = {"confusion": [[3, 1], [0, 2]], "precision": [1.0, 0.5], "recall": [0.5, 1.0],
                  "support": [4, 2]}  # fmt: skip
        page = Reader(mistakes.confusion({"classes": names, "scores": scores}, WORDS["en"]))
        filled = [cell for cell in page.cells if cell]
        return filled[2:10]

    assert heads(["a", "b"]) == ["a", "b", "a", "3", "1", "b", "0", "2"]
    long = "a" * 17
    assert heads([long, "b"]) == ["1", "2", f"1 {long}", "3", "1", "2 b", "0", "2"]


@pytest.fixture
def mixed():
    """A table with a number, a category and three classes that overlap; and its columns."""
    rng = np.random.default_rng(5)
    x, g = rng.normal(size=240) * 3, rng.integers(0, 3, size=240)
    gain = np.array([[0.0, 0.0, 0.0], [1.0, -0.5, 0.0], [0.0, 0.5, 1.0]])
    logits = np.outer(x, [0.5, 0.0, -0.2]) + gain[g]
    y = (logits + rng.gumbel(size=(240, 3))).argmax(1)
    lines = [f"{a!r},{'abc'[b]},k{c}" for a, b, c in zip(x.tolist(), g, y, strict=True)]
    Path("mixed.csv").write_text("\n".join(["x,g,y", *lines]))
    return x, g, y


MIXED = "fit mixed.csv --target y --holdout 0 --C 1 --report r.html --quiet --model m.safetensors"


def effects(x, g, y):
    """By statsmodels in effect coding: (estimate, error) of every class against their mean."""
    coded = np.column_stack([np.ones(len(x)), x, *((g == k) - 1.0 * (g == 0) for k in (1, 2))])
    fitted = MNLogit(y, coded).fit(disp=0, tol=1e-12, method="newton")
    turn = (np.eye(3) - 1 / 3)[:, 1:]
    features = {"x": np.array([0, np.ptp(x), 0, 0]), "g=a": np.array([0, 0, -1, -1]),
                "g=b": np.array([0, 0, 1, 0]), "g=c": np.array([0, 0, 0, 1])}  # fmt: skip
    found = {}
    for name, part in features.items():
        both = np.kron(turn, part)
        values = both @ fitted.params.T.ravel()
        errors = np.sqrt(np.diag(both @ fitted.cov_params() @ both.T))
        found[name] = list(zip(values, errors, strict=True))
    return found


def test_the_strongest_features_have_the_intervals_of_an_unpenalised_refit(capsys, mixed):
    typed(capsys, MIXED)
    page, model, oracle = read("r.html"), polylogit.load("m.safetensors"), effects(*mixed)
    moves = (model.weight - model.weight.mean(0)).numpy() * [np.ptp(mixed[0]), 1, 1, 1]
    reach = norm.ppf(0.975)
    for k, d in np.ndindex(3, 4):
        name = model.schema.names[d]
        value, error = oracle[name][k]
        ends = f"{value - reach * error:+.4g} … {value + reach * error:+.4g}"
        assert in_a_row(page.cells, [name, f"{moves[k, d]:+.4g}", f"{value:+.4g}", ends])
    said = WORDS["en"]["from_unpenalised"].format(n="240", level=0.95)
    assert said in page.cells
    assert WORDS["en"]["separated"] not in page.cells


def test_separated_classes_are_refitted_by_firth_and_marked(capsys):
    typed(capsys, f"{FIT} --holdout 0")
    page = read("r.html")
    found = polylogit.summarize(
        polylogit.read("penguins", target="species"), contrasts="sum-to-zero"
    )
    model = polylogit.load("m.safetensors")
    names = list(model.schema.names)
    known = model.record["columns"]
    at = names.index("bill_length_mm")
    size = known["high"][at] - known["low"][at]
    one = next(c for c in found.coefficients if c.column == "bill_length_mm")
    assert found.method == "firth"
    assert one.separated
    ends = f"{one.low * size:+.4g} … {one.high * size:+.4g}"
    assert in_a_row(page.cells, [f"{one.estimate * size:+.4g}", ends, WORDS["en"]["separated"]])
    assert WORDS["en"]["from_firth"].format(n="344", level=0.95) in page.cells


def test_only_what_contains_a_separated_coefficient_is_marked(capsys, mixed):
    text = Path("mixed.csv").read_text()
    Path("mixed.csv").write_text(f"{text}\n" + "\n".join(["0.5,d,k0", "-0.5,d,k0"] * 3))
    typed(capsys, MIXED)
    cells = [cell for cell in read("r.html").cells if cell]
    names = ("x", "g=a", "g=b", "g=c", "g=d")
    places = [at for at, cell in enumerate(cells) if cell in names and "…" in cells[at + 3]]
    marked = {cells[at] for at in places if cells[at + 4] == WORDS["en"]["separated"]}
    assert marked == {"g=a", "g=b", "g=c", "g=d"}
    assert "x" in {cells[at] for at in places}


def test_a_column_that_repeats_another_has_no_interval(capsys, mixed):
    lines = Path("mixed.csv").read_text().split("\n")
    doubled = [f"{line},{'xx' if at == 0 else 2 * float(line.split(',')[0])}"
               for at, line in enumerate(lines)]  # fmt: skip
    Path("mixed.csv").write_text("\n".join(doubled))
    typed(capsys, MIXED)
    cells = [cell for cell in read("r.html").cells if cell]
    assert cells[cells.index("xx") + 2] == WORDS["en"]["repeats"]


def test_without_intercept_a_category_stands_for_itself(mixed):
    schema = polylogit.read("mixed.csv", target="y").schema
    found = list(combinations(schema, schema.names, intercept=False))
    np.testing.assert_array_equal(found, np.eye(4))


@pytest.mark.parametrize(
    ("rows", "columns", "why"),
    [
        (25, 4_999, "large"),
        (20_000, 100, "large"),
        (40_000, 8, "large"),
        (None, None, "elsewhere"),
    ],
)
def test_where_intervals_would_take_long_or_rows_are_missing_a_sentence_says_so(rows, columns, why):
    model = polylogit.fit(polylogit.from_arrays([[0.0], [1.0]], ["a", "b"]), C=1.0).model
    training = None
    if rows is not None:
        training = polylogit.from_arrays(np.zeros((rows, columns), dtype=np.float32),
                                         np.arange(rows) % 2)  # fmt: skip
    found = intervals(model, training)
    told = {"features": found, "classes": ["a", "b"]}
    page = Reader(features.strongest(told, WORDS["en"]))
    assert found["why"] == why
    assert WORDS["en"][f"no_intervals_{why}"] in page.cells
    assert WORDS["en"]["interval"] not in page.cells


def test_a_refit_that_fails_says_why():
    rows = np.array([[0.0], [1.0], [2.0]])
    data = polylogit.from_arrays(rows, np.array([[0.5, 0.5], [0.2, 0.8], [0.7, 0.3]]))
    found = intervals(polylogit.fit(data, C=1.0).model, data)
    assert found["why"] == "failed"
    assert "rows of probabilities" in found["message"]


def test_of_many_classes_those_with_the_most_rows_are_drawn_and_the_others_named():
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(14), [9, *range(20, 33)])
    found = measure(np.log(rng.dirichlet(np.ones(14), size=len(codes))), codes)
    told = {"classes": [f"k{k}" for k in range(14)], "calibration": found.to_json()}
    page = Reader(trust.by_class(told, WORDS["en"]))
    assert page.tags.count("svg") == page.tags.count("figure") == 12
    names = [cell for cell in page.cells if cell in told["classes"]]
    assert names[:12] == [f"k{k}" for k in range(13, 1, -1)]
    assert WORDS["en"]["rarer"].format(count=12, names="k1, k0") in page.cells


def test_scores_confusion_and_decomposition_are_read_back(capsys):
    typed(capsys, FIT)
    cells, (log_p, codes) = read("r.html").cells, judged()
    names, guesses = ("Adelie", "Chinstrap", "Gentoo"), log_p.argmax(1)
    truth = np.eye(3)[codes]
    share = truth.mean(0)
    words = WORDS["en"]
    precision, recall, f1, support = precision_recall_fscore_support(codes, guesses)
    for name, p, r, n in zip(names, precision, recall, support, strict=True):
        assert in_a_row(cells, [name, f"{p:.4f}", f"{r:.4f}", f"{n}"])
    for name, counts in zip(names, confusion_matrix(codes, guesses), strict=True):
        assert in_a_row(cells, [name, *map(str, counts)])
    assert in_a_row(cells, [words["base"], f"{-(share * np.log(share)).sum():.4f}"])
    assert in_a_row(cells, [words["brier"], f"{((np.exp(log_p) - truth) ** 2).sum(1).mean():.4f}"])
    assert in_a_row(cells, [words["macro_f1"], f"{f1.mean():.4f}"])
    loss = measure(log_p, codes).top.log_loss
    assert in_a_row(cells, [words["calibration"], f"{loss.calibration:z.4f}"])
    assert in_a_row(cells, [words["refinement"], f"{loss.refinement:z.4f}"])


def test_the_worst_rows_are_told_by_their_line_or_number(capsys):
    typed(capsys, FIT)
    log_p, codes = judged()
    worst = int(log_p[np.arange(len(codes)), codes].argmin())
    _, held = split(
        read_table("penguins", target="species"), target="species", fraction=0.2, seed=0
    )
    line = int(held.place(worst).removeprefix("line "))
    cells = EXAMPLES["penguins"].path.read_text(encoding="utf-8").splitlines()[line - 1].split(",")
    assert cells[0] == ("Adelie", "Chinstrap", "Gentoo")[codes[worst]]
    assert in_a_row(read("r.html").cells, [WORDS["en"]["line"], "truth"])
    assert in_a_row(read("r.html").cells, [str(line), cells[0]])
    typed(capsys, "evaluate m.safetensors penguins --report e.html --quiet")
    assert in_a_row(read("e.html").cells, ["row", "truth"])
    model, data = polylogit.load("m.safetensors"), polylogit.read("penguins", target="species")
    log_p = model.log_probabilities(data.features).numpy()
    worst = int(log_p[np.arange(344), data.targets].argmin())
    assert in_a_row(read("e.html").cells, [str(worst + 1), model.classes[data.targets[worst]]])


def test_columns_tell_what_training_held_and_what_is_missing(capsys):
    typed(capsys, f"{FIT} --holdout 0")
    cells = read("r.html").cells
    rows = list(csv.DictReader(EXAMPLES["penguins"].path.read_text(encoding="utf-8").splitlines()))
    assert in_a_row(cells, ["island", "categorical", "Biscoe, Dream, Torgersen", "0"])
    for name in ("bill_length_mm", "body_mass_g", "year"):
        held = [float(row[name]) for row in rows if row[name] not in ("", "NA")]
        ends = f"{min(held):.5g} … {max(held):.5g}"
        assert in_a_row(cells, [name, "numeric", ends, str(len(rows) - len(held))])


def test_of_many_categories_the_first_dozen_are_named():
    one = {"name": "c", "kind": "categorical", "categories": list("abcdefghijklmn"),
           "range": None, "missing": 3}  # fmt: skip
    page = Reader(features.columns({"columns": [one] * 21}, WORDS["en"]))
    assert in_a_row(page.cells, ["c", "categorical", "a, b, c, d, e, f, g, h, i, j, k, l …", "3"])
    assert "and 1 more" in page.cells


def test_the_path_of_a_fit_is_that_of_its_summary(capsys):
    _, out, _ = typed(capsys, f"{FIT.replace('--C 0.001 ', '')} --json")
    summary, cells = json.loads(out), read("r.html").cells
    assert len(summary["C_table"]) > 3
    for line in summary["C_table"]:
        keys = ("C", "train_loss", "loss", "standard_error", "accuracy", "effective_dof")
        assert in_a_row(cells, [f"{line[key]:.4g}" for key in keys])
    assert in_a_row(cells, ["✓", f"{summary['C']:.4g}"])
    assert summary["C_note"] in cells


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_a_page_on_new_rows_stands_alone(capsys, lang):
    typed(capsys, FIT)
    line = f"evaluate m.safetensors penguins --report e.html --lang {lang} --json"
    status, _, _ = typed(capsys, line)
    page = Path("e.html").read_text(encoding="utf-8")
    reader = Reader(page)
    assert status == 0
    assert ("lang", lang) in reader.attributes
    assert WORDS[lang]["trust"] in reader.cells
    assert "script" not in reader.tags
    assert not re.search(r"\b(src|href)=|url\(|@import", page)
    pictures = reader.tags.count("svg")
    labels = [value for name, value in reader.attributes if name == "aria-label"]
    assert pictures == len(labels) > 0
    assert all(labels)


def test_without_rows_held_out_it_says_that_it_is_optimistic(capsys):
    typed(capsys, f"{FIT} --holdout 0")
    assert any("optimistic" in cell for cell in read("r.html").cells)


def test_a_refit_does_not_judge_itself_on_rows_that_it_saw(capsys):
    typed(capsys, FIT)
    before = read("r.html").cells
    typed(capsys, f"{FIT} --refit")
    after = read("r.html").cells
    cards = slice(before.index("accuracy"), before.index("macro F1") + 2)
    assert before[cards] == after[cards]


def test_the_path_of_a_choice_is_drawn_and_listed():
    rows = np.random.default_rng(0).normal(size=(60, 2))
    data = polylogit.from_arrays(rows, (rows[:, 0] + rows[:, 1] ** 2 > 0.5).astype(int))
    choice = polylogit.choose_C(data)
    found = gather(choice.model, data, "training", Trained(choice, data))
    page = Reader(fitting.path(found, WORDS["en"]))
    assert page.tags.count("svg") == 1
    assert choice.note in page.cells
    for line in choice.table:
        numbers = (line.C, line.train_loss, line.loss, line.standard_error, line.accuracy,
                   line.effective_dof)  # fmt: skip
        cells = [f"{number:.4g}" for number in numbers]
        start = page.cells.index(cells[0], page.cells.index("C"))
        assert page.cells[start : start + 6] == cells
        assert (page.cells[start - 1] == "✓") == (line.C == choice.C)
    (label,) = (value for name, value in page.attributes if name == "aria-label")
    assert f"chosen: C = {choice.C:.3g}" in label
    assert f"{min(line.loss for line in choice.table):.3g}" in label


def test_a_loss_that_is_infinite_is_left_out_of_the_plot_and_stands_in_the_table():
    lines = [
        {"C": C, "train_loss": 0.5, "loss": loss, "standard_error": error, "accuracy": 0.9,
         "effective_dof": 3.0}
        for C, loss, error in ((0.1, 0.6, 0.1), (1.0, 0.55, 0.1), (10.0, None, None))
    ]  # fmt: skip
    choice = {"C": 1.0, "table": lines, "note": None}
    page = Reader(fitting.path({"choice": choice}, WORDS["en"]))
    assert page.tags.count("circle") == 4
    assert page.cells.count("∞") == 2


def test_a_path_that_nobody_walked_is_a_sentence(capsys):
    typed(capsys, FIT)
    assert "C = 0.001 was given, so nothing was chosen." in read("r.html").cells
    note = "auto is 1 here: the rows are streamed"
    choice = {"C": 1.0, "table": [], "note": note}
    assert note in Reader(fitting.path({"choice": choice}, WORDS["en"])).cells
    assert fitting.path({"choice": None}, WORDS["en"]) == ""


def chosen(**said):
    """A choice of three values as plain data, and what a page in Korean says of it."""
    table = [{"C": C} for C in (0.1, 1.0, 10.0)]
    plain = {"C": 1.0, "note": "", "table": table, "rule": "lowest", "alone": 0, "stopped": False}
    return korean.note(plain | said, said.get("l1_ratio", 0.0))


def test_how_c_was_chosen_is_told_in_korean_from_the_values():
    assert chosen() == "하나 뺀 손실이 가장 낮은 값, 3개 가운데"
    assert chosen(rule="one-standard-error").startswith(korean.RULES["one-standard-error"])
    assert chosen(C=10.0).endswith("가운데; 경로의 끝")
    assert chosen(C=0.1, alone=2).endswith("; 경로의 끝; 빼면 클래스가 비는 2개 행은 빼지 못했다")
    assert chosen(stopped=True).endswith("; 경로가 끝나기 전에 손으로 멈추었다")
    assert "손으로 멈추었다" in chosen(table=[], stopped=True)
    assert "l1_ratio = 0" in chosen(table=[], l1_ratio=0.5)
    assert "C를 1로 두었다" in chosen(table=[])
    assert korean.RULES.keys() == RULES.keys()


@pytest.mark.parametrize("status", Status)
def test_how_a_solve_ended_is_told_in_korean_from_the_values(status):
    record = {"solver": "newton", "certified": status is Status.CERTIFIED} | (
        {} if status is Status.UNCERTIFIED else {"gap": 2.5e-7}
    )
    ended = {"status": status.name, "passes": 7, "seconds": 1.25}
    told = korean.status(record, ended)
    assert ("2.5e-07냇" in told) == ("gap" in record)
    assert "데이터를 7번 읽고 1.25초 걸렸다 (newton)." in told
    assert told.endswith(korean.ENDS[status.name])
    later = korean.status(record, None)
    assert later.endswith(
        "(newton)." + korean.ENDS["CERTIFIED" if record["certified"] else "unknown"]
    )


@pytest.mark.parametrize("line", ["", " --l1-ratio 0.5", " --C 0.1", " --rule one-standard-error"])
def test_a_page_in_korean_has_no_sentence_of_the_library(capsys, line):
    typed(capsys, f"{FIT.replace(' --C 0.001', '')}{line} --lang ko")
    typed(capsys, "evaluate m.safetensors penguins --report e.html --json --lang ko")
    for page in ("r.html", "e.html"):
        cells = read(page).cells
        english = [cell for cell in cells if re.search(r"[a-z]+ [a-z]+ [a-z]+", cell)]
        assert all(cell.startswith(":root {") for cell in english)  # the style sheet
        assert any("넘게 나쁘지 않다고 증명되었다" in cell for cell in cells)


def test_the_proof_is_of_the_fit_that_is_saved(capsys):
    typed(capsys, f"{FIT} --refit")
    status = polylogit.load("m.safetensors").record["status"]
    assert any(status in cell for cell in read("r.html").cells)


def test_names_cannot_break_the_page():
    rows = np.array([[0.0], [1.0], [2.0], [3.0]])
    labels = ["<b>x</b>", '"&', "<b>x</b>", '"&']
    data = polylogit.from_arrays(rows, labels)
    model = polylogit.fit(data, C=1.0).model
    told = gather(model, data, "data") | {"source": "<script>alert(1)</script>"}
    for lang in ("en", "ko"):
        page = whole_page(told, lang)
        assert "<script>" not in page
        assert "<b>" not in page


def test_both_languages_say_the_same_things():
    assert WORDS["en"].keys() == WORDS["ko"].keys()
    for name, words in WORDS["en"].items():
        fields = re.findall(r"{(\w+)}", words)
        assert sorted(fields) == sorted(re.findall(r"{(\w+)}", WORDS["ko"][name]))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (f"{FIT} --lang xx", "--lang must be en or ko"),
        ("evaluate m.safetensors penguins --report m.safetensors", "would overwrite what is read"),
        ("evaluate m.safetensors penguins --report no/r.html", "no"),
    ],
)
def test_what_cannot_be_reported_is_one_line(capsys, line, says):
    typed(capsys, FIT)
    status, out, err = typed(capsys, line)
    assert (status, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1
