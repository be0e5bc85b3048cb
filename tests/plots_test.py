"""Tests that pictures draw what they say."""

import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest

mpl.use('Agg')
from matplotlib import pyplot

from embedcomp import Group, Scheme, frequency, methods, plots

SCHEME = Scheme(
  8,
  (
    Group(10, methods.Dense('int8')),
    Group(90, methods.ProductQuantization(2, 16, 'int8')),
    Group(1, methods.Drop()),
  ),
  'stored',
)


@pytest.fixture(autouse=True)
def close_figures():
  yield
  pyplot.close('all')


def zipf_counts(num_words=101):
  shares = 1 / (np.arange(1, num_words + 1) + 2.0)
  rng = np.random.default_rng(0)
  return rng.permutation(rng.multinomial(20_000, shares / shares.sum()))


def draw(ax):
  """Renders, so that whatever fails while drawing fails here."""
  ax.figure.canvas.draw()
  return ax


def test_frequencies_are_those_of_the_counts():
  counts = zipf_counts()
  ax = draw(plots.plot_frequency(counts))
  observed, fitted = ax.get_lines()
  ranks = observed.get_xdata()
  assert (ax.get_xscale(), ax.get_yscale()) == ('log', 'log')
  assert ranks[0] == 1
  assert ranks[-1] == (counts > 0).sum()
  np.testing.assert_array_equal(
    observed.get_ydata(), np.sort(counts)[::-1][ranks - 1]
  )
  law = frequency.fit_zipf_mandelbrot(counts)
  np.testing.assert_allclose(fitted.get_ydata(), law.frequency(ranks))
  assert f'exponent {law.exponent:.2f}' in fitted.get_label()


def test_coverage_has_its_own_axis():
  counts = zipf_counts()
  ax = draw(plots.plot_frequency(counts))
  other = [twin for twin in ax.figure.axes if twin is not ax]
  assert [twin.get_ylabel() for twin in other] == ['coverage (%)']
  (line,) = other[0].get_lines()
  shares = frequency.coverage(counts)
  np.testing.assert_allclose(
    line.get_ydata(), 100 * shares[line.get_xdata() - 1]
  )


def test_groups_are_shaded_side_by_side_and_listed():
  ax = draw(plots.plot_frequency(zipf_counts(), SCHEME))
  edges = [(p.get_x(), p.get_x() + p.get_width()) for p in ax.patches]
  assert len(edges) == 3
  assert edges[0][1] == edges[1][0] == 10.5
  assert edges[1][1] == edges[2][0] == 100.5
  texts = [text.get_text() for text in ax.get_legend().get_texts()]
  assert texts[-3:] == [
    '1  dense(storage=int8): 10 words',
    '2  pq(books=2, codewords=16, storage=int8): 90 words',
    '3  drop: 1 word',
  ]
  assert [text.get_text() for text in ax.texts] == ['1', '2', '3']


@pytest.mark.parametrize('counts', [[5], [0, 5, 0], [4, 4]])
def test_few_words_are_drawn_without_a_fit(counts):
  ax = draw(plots.plot_frequency(counts))
  assert len(ax.get_lines()) == 1


def test_counts_have_to_be_those_of_the_scheme():
  with pytest.raises(ValueError, match='each of 101 words, got 3'):
    plots.plot_frequency([3, 2, 1], SCHEME)


def test_bars_add_up_to_the_bytes():
  ax = draw(plots.plot_sizes(SCHEME))
  totals = np.zeros(4)
  for container in ax.containers:
    for row, bar in enumerate(container):
      assert bar.get_width() == 0 or bar.get_x() == totals[row]
      totals[row] += bar.get_width()
  rows = SCHEME.size_table()
  assert totals.tolist() == [row['bytes'] for row in rows]
  assert totals.sum() == SCHEME.num_bytes
  roles = [text.get_text() for text in ax.get_legend().get_texts()]
  assert roles == ['factors', 'scales', 'codes', 'codebooks', 'order map']
  ticks = [label.get_text() for label in ax.get_yticklabels()]
  assert ticks[0] == '1  dense(storage=int8)\nranks 0 to 9'
  assert ticks[3] == 'order map\nall words'
  assert ax.texts[0].get_text() == '100 B  (26%)'  # of 392


def test_curves_are_those_given():
  curves = {
    'mixed': (np.geomspace(1e5, 1e7, 50), np.linspace(1, 0, 50)),
    'low rank': ([2e5, 4e6], [0.9, 0.3]),
  }
  ax = draw(plots.plot_frontier(curves, dense_bytes=20_000_000))
  assert ax.get_xscale() == 'log'
  for line, (name, (num_bytes, errors)) in zip(ax.get_lines(), curves.items()):
    assert line.get_label() == name
    np.testing.assert_array_equal(line.get_xdata(), num_bytes)
    np.testing.assert_array_equal(line.get_ydata(), errors)
  assert [line.get_marker() for line in ax.get_lines()] == ['None', 'o']
  (top,) = ax.child_axes
  factors = [float(t.get_text()[:-1]) for t in top.get_xticklabels()]
  np.testing.assert_allclose(top.get_xticks(), 20_000_000 / np.array(factors))
  assert {5.0, 10.0, 50.0} <= set(factors)


def test_curves_that_do_not_fit_are_named():
  with pytest.raises(ValueError, match='at least one curve'):
    plots.plot_frontier({})
  with pytest.raises(ValueError, match=r"'pq' must be bytes and errors of one"):
    plots.plot_frontier({'pq': ([1, 2], [0.5])})


def test_a_given_axes_is_drawn_into():
  figure, (left, right) = pyplot.subplots(1, 2)
  assert plots.plot_sizes(SCHEME, ax=left) is left
  assert plots.plot_frontier({'pq': ([10, 20], [1, 0])}, ax=right) is right
  assert figure.axes[:2] == [left, right]
  assert pyplot.get_fignums() == [figure.number]


@pytest.mark.parametrize(
  ('num_bytes', 'text'),
  [
    (0, '0 B'),
    (999, '999 B'),
    (1000, '1 kB'),
    (999_600, '1 MB'),
    (1_234_567, '1.23 MB'),
    (46_900_000, '46.9 MB'),
    (5e12, '5000 GB'),
  ],
)
def test_sizes_are_written_in_readable_units(num_bytes, text):
  assert plots.bytes_text(num_bytes) == text


def test_without_matplotlib_the_error_says_what_to_install():
  code = (
    'import sys\n'
    "sys.modules['matplotlib'] = None\n"
    'from embedcomp import plots\n'
    'try:\n'
    "  plots.plot_frontier({'pq': ([1, 2], [1, 0])})\n"
    'except ImportError as error:\n'
    '  print(error)\n'
  )
  run = subprocess.run(
    [sys.executable, '-c', code], capture_output=True, text=True, check=True
  )
  assert "pip install 'embedcomp[plots]'" in run.stdout
