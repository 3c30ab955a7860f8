"""The drawing of a path over C: where its marks are, and what it says where there is no path."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

import polylogit
from polylogit.app.figures.path import LOSSES, path_figure, plot_path
from polylogit.app.texts.report.words import WORDS
from polylogit.errors import OptionError

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def choice():
    rows = np.random.default_rng(0).normal(size=(60, 2))
    data = polylogit.from_arrays(rows, (rows[:, 0] + rows[:, 1] ** 2 > 0.5).astype(int))
    return polylogit.choose_C(data, (0.01, 0.1, 1.0, 10.0))


@pytest.fixture(scope="module")
def drawing(choice):
    return ElementTree.fromstring(plot_path(choice).svg)  # noqa: S314  our own drawing


def points(element):
    return [tuple(map(float, pair.split(","))) for pair in element.get("points").split()]


def named(drawing, name):
    return [element for element in drawing if element.get("class") == name]


def test_curves_and_band_stand_where_the_table_says(choice, drawing):
    left_out = points(next(e for e in named(drawing, "one") if e.tag == f"{SVG}polyline"))
    training = points(next(e for e in named(drawing, "two") if e.tag == f"{SVG}polyline"))
    (band,) = (points(element) for element in named(drawing, "band"))
    lines = choice.table
    low = min(min(one.train_loss, one.loss - one.standard_error) for one in lines)
    high = max(max(one.train_loss, one.loss + one.standard_error) for one in lines)
    top, height = LOSSES

    def at(loss):
        return pytest.approx(top + height * (high - loss) / (high - low), abs=0.06)

    assert [y for _, y in left_out] == [at(one.loss) for one in lines]
    assert [y for _, y in training] == [at(one.train_loss) for one in lines]
    edges = [(one.loss - one.standard_error, one.loss + one.standard_error) for one in lines]
    assert [y for _, y in band] == [at(a) for a, _ in edges] + [at(b) for _, b in edges[::-1]]
    assert np.diff([x for x, _ in left_out]) == pytest.approx(470 / 3, abs=0.11)  # decades of C


def test_the_chosen_one_is_marked_in_both_frames(choice, drawing):
    left_out = points(next(e for e in named(drawing, "one") if e.tag == f"{SVG}polyline"))
    place = left_out[[one.C for one in choice.table].index(choice.C)][0]
    marks = [re.match(r"M([\d.]+),", element.get("d"))[1] for element in named(drawing, "guide")]
    assert marks == [f"{place:.1f}"] * 2


@pytest.mark.parametrize(("place", "anchor"), [(0, "start"), (1, "middle"), (-1, "end")])
def test_the_name_of_the_chosen_one_is_not_cut_off_at_an_end(choice, place, anchor):
    lines = [line.to_json() for line in choice.table]
    drawing = ElementTree.fromstring(  # noqa: S314  our own drawing
        path_figure(lines, lines[place]["C"], WORDS["en"]).svg
    )
    (name,) = (e for e in drawing if (e.text or "").startswith("chosen: "))
    assert name.get("text-anchor") == anchor


def test_a_notebook_shows_it_and_korean_is_spoken(choice):
    figure = plot_path(choice, lang="ko")
    assert figure._repr_svg_() == figure.svg
    assert "고른 값" in figure.svg


def test_without_a_path_it_says_why():
    data = polylogit.from_arrays([[0.0], [1.0], [2.0], [3.0]], ["a", "b", "a", "b"])
    with pytest.raises(OptionError, match="its C = 2 was given"):
        polylogit.plot_path(polylogit.fit(data, C=2.0))
    with pytest.raises(OptionError, match="leave-one-out needs a smooth penalty"):
        polylogit.plot_path(polylogit.fit(data, l1_ratio=1.0))


def test_a_language_it_does_not_speak_is_refused(choice):
    with pytest.raises(OptionError, match="lang must be en or ko, not 'fr'"):
        plot_path(choice, lang="fr")
