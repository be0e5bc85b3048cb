"""Tests that pictures draw what they say."""

import dataclasses
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest

mpl.use('Agg')
from matplotlib import pyplot

from embedcomp import Group, Scheme, methods, plots
from embedcomp.attention.block_patterns import Pattern
from embedcomp.compression import frequency

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


def test_groups_that_are_not_sorted_by_count_are_shown_by_their_share():
  counts = np.sort(zipf_counts())  # rare words first, so in the first groups
  scheme = dataclasses.replace(SCHEME, order='identity')
  ax = draw(plots.plot_frequency(counts, scheme))
  bars = np.array(
    [[bar.get_x(), bar.get_width(), bar.get_height()] for bar in ax.patches]
  ).reshape(3, -1, 3)
  np.testing.assert_allclose(bars[:, :, 2].sum(axis=0), 1)
  words = (bars[:, :, 1] * bars[:, :, 2]).sum(axis=1)
  np.testing.assert_allclose(words, [10, 90, 1])
  assert bars[2, 0, 2] == 1  # the most frequent word is in the last group
  assert bars[0, -1, 2] == 1
  assert len(ax.texts) == 0


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
  ax = draw(plots.plot_rate_distortion(curves, dense_bytes=20_000_000))
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
    plots.plot_rate_distortion({})
  with pytest.raises(ValueError, match=r"'pq' must be bytes and errors of one"):
    plots.plot_rate_distortion({'pq': ([1, 2], [0.5])})


CURVES = {
  'search': ([0.01, 0.05], [0.9, 0.92], [0.01, 0.02]),
  'low rank $x$': ([0.01], [0.8], [np.nan]),
}


def test_metrics_by_size_are_those_given():
  ax = draw(plots.plot_size_metric(CURVES, (0.93, 0.004), highlight='search'))
  assert ax.get_xscale() == 'log'
  for container, (name, given) in zip(ax.containers, CURVES.items()):
    line, _, (bars,) = container
    assert container.get_label().replace('\\', '') == name
    np.testing.assert_array_equal(line.get_xdata(), given[0])
    np.testing.assert_array_equal(line.get_ydata(), given[1])
    lengths = [np.ptp(s[:, 1]) for s in bars.get_segments() if len(s)]
    expected = 2 * np.array([d for d in given[2] if d == d])
    np.testing.assert_allclose(lengths, expected)
  widths = [container[0].get_linewidth() for container in ax.containers]
  assert widths[0] > widths[1]
  (band,) = ax.patches
  assert (band.get_y(), band.get_height()) == pytest.approx((0.926, 0.008))
  texts = [text.get_text() for text in ax.get_legend().get_texts()]
  assert texts[0] == 'dense, ± one deviation'
  ticks = [t.get_text() for t in ax.get_xticklabels()]
  assert {'1%', '2%', '5%'} <= set(ticks)


@pytest.mark.parametrize('size', [0.0101, 0.0199, 0.0499, 0.3, 1.0])
def test_any_single_size_has_a_tick(size):
  curves = {'one': ([size], [0.5], [np.nan])}
  ax = draw(plots.plot_size_metric(curves))
  low, high = ax.get_xlim()
  assert any(low <= tick <= high for tick in ax.get_xticks())


def test_curves_of_metrics_are_checked():
  with pytest.raises(ValueError, match='at least one curve'):
    plots.plot_size_metric({})
  with pytest.raises(ValueError, match="'a' must be sizes, means and devia"):
    plots.plot_size_metric({'a': ([0.1, 0.2], [1.0], [0.1])})
  with pytest.raises(ValueError, match=r"positive shares, got .* for 'a'"):
    plots.plot_size_metric({'a': ([0.0], [1.0], [0.1])})


def test_many_methods_are_told_apart_without_colours():
  curves = {f'method {i}': ([0.1], [i], [np.nan]) for i in range(18)}
  ax = draw(plots.plot_size_metric(curves))
  lines = [container[0] for container in ax.containers]
  plain = {(line.get_marker(), line.get_linestyle()) for line in lines}
  assert len(plain) == 18


def test_methods_stand_in_order_beside_the_dense_model():
  values = {'search': (0.9, 0.01), 'low rank': (0.8, np.nan)}
  ax = draw(plots.plot_methods(values, (0.93, np.nan), highlight='search'))
  names = [label.get_text() for label in ax.get_yticklabels()]
  assert names == list(values)
  bottom, top = ax.get_ylim()
  assert top < 0 < 1 < bottom  # the first on top
  drawn = [container[0].get_xdata()[0] for container in ax.containers]
  assert drawn == [0.9, 0.8]
  with pytest.raises(ValueError, match='at least one method'):
    plots.plot_methods({})


def test_deciles_are_those_given_and_the_damage_is_shaded():
  losses = {'dense': np.linspace(0, 1, 10), 'compressed': np.ones(10)}
  edges = [12_345.6, *np.linspace(1.5, 0.01, 9)]
  ax = draw(plots.plot_deciles(losses, edges))
  for line, (name, values) in zip(ax.get_lines(), losses.items()):
    assert line.get_label() == name
    np.testing.assert_array_equal(line.get_xdata(), range(1, 11))
    np.testing.assert_array_equal(line.get_ydata(), values)
  assert len(ax.collections) == 1
  ticks = [label.get_text() for label in ax.get_xticklabels()]
  assert (ticks[0], ticks[-1]) == ('1\n12,346', '10\n0.01')
  assert draw(plots.plot_deciles({'one': [1.0, np.nan]})).get_ylim()[0] == 0
  for wrong in ({}, {'a': [1.0], 'b': [1.0, 2.0]}):
    with pytest.raises(ValueError, match='must have one length'):
      plots.plot_deciles(wrong)


def random_probabilities(rng, *shape):
  return rng.dirichlet(np.ones(shape[-1]), size=shape[:-1])


@pytest.mark.parametrize('num_options', [1, 3, 8, 9, 12])
@pytest.mark.parametrize('num_bins', [1, 4, 5, 9])
def test_areas_of_probabilities_fill_every_panel(rng, num_bins, num_options):
  mixture = random_probabilities(rng, 3, num_bins, num_options)
  bins = [0, *range(1000, 1000 + num_bins)]
  names = [f'option {i}' for i in range(num_options)]
  figure = plots.plot_probabilities(
    [1, 2, 5], mixture, names, bins, rng.permutation(num_options)
  )
  figure.canvas.draw()
  panels = figure.axes
  assert len(panels) == min(num_bins, 6)
  assert panels[0].get_title() == 'ranks 0 to 999'
  assert panels[-1].get_title().endswith(f'{bins[-1] - 1:,}')
  for ax in panels:
    areas = [area.get_datalim(ax.transData) for area in ax.collections]
    assert len(areas) == min(num_options, 9)
    assert min(area.y0 for area in areas) == 0
    assert max(area.y1 for area in areas) == pytest.approx(1)
  (legend,) = figure.legends
  texts = [text.get_text() for text in legend.get_texts()]
  if num_options <= 8:
    assert sorted(texts) == sorted(names)
  else:
    others = num_options - 8
    assert texts[0] == f'{others} other' + 's' * (others > 1)


def test_options_are_stacked_from_the_cheapest(rng):
  mixture = np.tile([0.1, 0.6, 0.3], (2, 1, 1))
  figure = plots.plot_probabilities(
    [0, 9], mixture, ['a', 'b', 'c'], [0, 5], [9, 1, 5]
  )
  (ax,) = figure.axes
  tops = [area.get_datalim(ax.transData).y1 for area in ax.collections]
  np.testing.assert_allclose(tops, [0.6, 0.9, 1.0])
  texts = [text.get_text() for text in figure.legends[0].get_texts()]
  assert texts == ['a', 'c', 'b']  # the dearest on top, as it is drawn


def test_splits_are_expected_where_they_are_likely():
  bins = [0, 10, 1000, 5000]
  splits = np.zeros((2, 2, 3))
  splits[0, :] = [0.25, 0.25, 0.5]
  splits[1, 0] = [1, 0, 0]
  splits[1, 1] = [0, 0.2, 0.8]
  ax = draw(plots.plot_splits([5, 10], splits, bins))
  lines = [line.get_ydata() for line in ax.get_lines()]
  np.testing.assert_allclose(lines[0], [100, 10])  # in the middle of logs
  np.testing.assert_allclose(lines[1], [100, 10])
  np.testing.assert_allclose(lines[2], [100, 1000])
  np.testing.assert_allclose(lines[3], [100, np.nan])  # likelier unused
  shown = ax.collections[0].get_array()
  np.testing.assert_allclose(shown, [[0.5, 1.0], [0.5, 0.2]])
  texts = [text.get_text() for text in ax.get_legend().get_texts()]
  assert texts == [
    'split 1, probability of use 100%',
    'split 2, probability of use 20%',
  ]


@pytest.mark.parametrize(('num_steps', 'num_splits'), [(1, 2), (3, 0), (1, 0)])
def test_few_steps_or_splits_are_drawn_too(rng, num_steps, num_splits):
  splits = random_probabilities(rng, num_steps, num_splits, 4)
  draw(plots.plot_splits(range(num_steps), splits, [0, 1, 2, 3, 4]))


def test_an_attention_pattern_is_shaded_by_level():
  pattern = Pattern(chunk_size=4, num_summaries=1)
  ax = draw(plots.plot_pattern(pattern, 64))
  (image,) = ax.get_images()
  levels = pattern.levels_read(64)
  np.testing.assert_array_equal(image.get_array(), levels)
  names = [text.get_text() for text in ax.get_legend().get_texts()]
  assert names == ['tokens', *(f'summaries of {n} tokens' for n in (4, 8, 16))]
  near = draw(
    plots.plot_pattern(Pattern(chunk_size=4, num_levels=0, num_summaries=1), 64)
  )
  texts = near.get_legend().get_texts()
  assert [text.get_text() for text in texts] == ['tokens', 'not read']


def test_splits_that_are_never_used_are_drawn_too():
  unused = np.broadcast_to([0.1, 0.1, 0.1, 0.7], (9, 1, 4))
  ax = draw(plots.plot_splits(range(9), unused, [0, 1, 2, 3, 4]))
  assert np.isnan(ax.get_lines()[1].get_ydata()).all()


def test_probabilities_have_to_fit():
  with pytest.raises(ValueError, match=r'= \(2, 1, 1\) and .* got shapes'):
    plots.plot_probabilities([1, 2], np.ones((2, 2, 1)), ['a'], [0, 5], [1])
  with pytest.raises(ValueError, match=r'must be \[2, S, 1\], got shape'):
    plots.plot_splits([1, 2], np.ones((2, 2, 2)), [0, 5])


def test_logs_are_drawn_with_their_goals():
  curves = {
    'expected_bytes': ([1, 2], [3e6, 2e6]),
    'loss': ([1, 2], [np.nan, 2.0]),
  }
  figure = plots.plot_metrics(curves, {'expected_bytes': 1.5e6})
  figure.canvas.draw()
  assert [ax.get_title() for ax in figure.axes] == ['expected bytes', 'loss']
  line, goal = figure.axes[0].get_lines()
  assert (list(line.get_ydata()), goal.get_ydata()[0]) == ([3e6, 2e6], 1.5e6)
  ticks = [label.get_text() for label in figure.axes[0].get_yticklabels()]
  assert all(tick.endswith('MB') for tick in ticks)
  with pytest.raises(ValueError, match='each goal needs a curve'):
    plots.plot_metrics(curves, {'accuracy': 1.0})


def test_a_given_axes_is_drawn_into():
  figure, (left, right) = pyplot.subplots(1, 2)
  assert plots.plot_sizes(SCHEME, ax=left) is left
  assert (
    plots.plot_rate_distortion({'pq': ([10, 20], [1, 0])}, ax=right) is right
  )
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
    "  plots.plot_rate_distortion({'pq': ([1, 2], [1, 0])})\n"
    'except ImportError as error:\n'
    '  print(error)\n'
  )
  run = subprocess.run(
    [sys.executable, '-c', code], capture_output=True, text=True, check=True
  )
  assert 'pip install "embedcomp[plots]"' in run.stdout
