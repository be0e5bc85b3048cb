"""Pictures of a run for its report, each with its caption."""

import dataclasses
import io
from collections.abc import Iterator
from typing import Any

import numpy as np

from embedcomp import plots
from embedcomp._internal import optional
from experiments.report.comparison_page import Comparison, deviation
from experiments.report.read import Run

_DPI = 110
# Sizes within this factor are one: then only the metric is drawn.
_ONE_SIZE = 1.25
_LOGGED = (
  'loss',
  'held_out_loss',
  'expected_bytes',
  'multiplier',
  'temperature',
  'entropy',
)


@dataclasses.dataclass(frozen=True)
class Picture:
  """A picture of a run.

  Attributes:
    name: of its file, without `.png`.
    title: of its section.
    caption: what there is to see.
    png: bytes.
  """

  name: str
  title: str
  caption: str
  png: bytes


def draw(run: Run) -> list[Picture]:
  """All pictures for which a run has data, in the order of the page.

  Raises:
    ImportError: without matplotlib.
  """
  pyplot = optional.require('matplotlib.pyplot', extra='plots')
  style = optional.require('matplotlib.style', extra='plots')
  # The first figure sets up how a notebook shows all of them, which must not be
  # taken back with the style.
  pyplot.close(pyplot.figure())
  drawn = []
  with style.context('default'):
    for name, title, caption, artist in _artists(run):
      figure = getattr(artist, 'figure', None) or artist
      drawn.append(Picture(name, title, caption, _png(figure)))
      pyplot.close(figure)
  return drawn


def _png(figure: Any) -> bytes:
  file = io.BytesIO()
  figure.savefig(
    file,
    format='png',
    dpi=_DPI,
    bbox_inches='tight',
    facecolor='white',
    metadata={'Software': None},  # the same bytes for every version
  )
  return file.getvalue()


def _artists(run: Run) -> Iterator[tuple[str, str, str, Any]]:
  """Name, title, caption and Axes or Figure."""
  if run.comparison is not None and run.comparison.methods:
    yield (
      'comparison',
      'Size and metric',
      'Means over seeds on test data; bars are one standard deviation.',
      plot_comparison(run.comparison, run.result['method']),
    )
  if run.scheme is not None:
    yield (
      'sizes',
      'The final scheme',
      'Bytes on disk of each group by what they hold; a search puts the words '
      'first that the task needs most.',
      plots.plot_sizes(run.scheme),
    )
  if run.counts is not None:
    yield (
      'frequency',
      'Words and groups',
      'How often words occur, how much of the text they cover, and which '
      'group holds them.',
      plots.plot_frequency(run.counts, run.scheme),
    )
  if run.deciles is not None:
    yield (
      'deciles',
      'Loss by frequency',
      'Test loss by how frequent the words are: an average hides a ruined '
      'tail, this does not.',
      _deciles(run),
    )
  yield from _search(run)
  training = _training(run)
  if training:
    yield (
      'training',
      'Training',
      'Means over the last steps on training data, by phase.',
      plots.plot_metrics(training),
    )


def _search(run: Run) -> Iterator[tuple[str, str, str, Any]]:
  """Pictures of how probabilities moved, and of the log of the search."""
  found = run.probabilities
  if found is not None:
    yield (
      'probabilities',
      'Probabilities of methods and sizes',
      'How likely each option is in some of the bins, step by step. Options '
      'are stacked from the cheapest, darkest, to the dearest.',
      plots.plot_probabilities(
        found.steps,
        found.mixture,
        found.options,
        found.bins,
        found.bytes_per_word,
      ),
    )
  if found is not None and found.splits is not None and len(found.bins) > 2:
    yield (
      'splits',
      'Probabilities of split points',
      'Where splits are expected, step by step; dotted where a split is '
      'likelier unused than used.',
      plots.plot_splits(found.steps, found.splits, found.bins),
    )
  curves = logged(run)
  if curves:
    goals = {}
    if run.budget is not None and 'expected_bytes' in curves:
      goals['expected_bytes'] = run.budget
    yield (
      'search',
      'The search',
      'Losses on training and on held-out data, expected bytes and their '
      'budget (dashed), the price of a byte, and the annealing.',
      plots.plot_metrics(curves, goals),
    )


def logged(run: Run) -> dict[str, tuple[list[int], list[float]]]:
  """Steps and values of what a search has logged, by name."""
  return _curves(run, 'search', {name: name for name in _LOGGED})


def _training(run: Run) -> dict[str, tuple[list[int], list[float]]]:
  """Steps and values of losses and metrics of all other training phases."""
  curves = {}
  for stage in dict.fromkeys(line.get('stage') for line in run.metrics):
    if stage != 'search' and not _is_trial(stage):
      names = ('loss', 'accuracy', 'perplexity')
      curves |= _curves(run, stage, {n: f'{stage}: {n}' for n in names})
  return curves


def _curves(
  run: Run, stage: str, titles: dict[str, str]
) -> dict[str, tuple[list[int], list[float]]]:
  """Steps and values of the metrics that have any, by title."""
  lines = [line for line in run.metrics if line.get('stage') == stage]
  curves = {}
  for name, title in titles.items():
    points = [
      (line['step'], line[name])
      for line in lines
      if isinstance(line.get(name), (int, float))
      # No held-out loss is measured, and 0 logged, before sizes learn.
      and (name != 'held_out_loss' or line[name] > 0)
    ]
    if points:
      curves[title] = tuple(map(list, zip(*points)))
  return curves


def _is_trial(stage: str | None) -> bool:
  """Returns True for one of many short trainings, not worth a panel."""
  return stage is None or stage.startswith('trial_')


def plot_comparison(comparison: Comparison, own: str) -> Any:
  """Draws methods by size, or as dots if they have a single size.

  Args:
    comparison: with at least one method.
    own: name of the method that is drawn boldly.

  Returns:
    The Axes.
  """
  methods = comparison.methods
  ratios = [method.ratio for method in methods]
  labels = list(dict.fromkeys(method.label for method in methods))
  highlight = comparison.label_of(own)
  metric = f'test {comparison.metric}'
  is_one_size = max(ratios) <= _ONE_SIZE * min(ratios)
  if is_one_size and len(labels) == len(methods):
    sign = -1 if comparison.higher_is_better else 1
    best_first = sorted(methods, key=lambda m: sign * np.mean(m.values))
    dots = {
      m.label: (float(np.mean(m.values)), deviation(m.values))
      for m in best_first
    }
    return plots.plot_methods(dots, comparison.dense, metric, highlight)
  curves = {}
  for label in labels:
    ours = [method for method in methods if method.label == label]
    curves[label] = (
      np.array([m.ratio for m in ours]),
      np.array([np.mean(m.values) for m in ours]),
      np.array([deviation(m.values) for m in ours]),
    )
  return plots.plot_size_metric(curves, comparison.dense, metric, highlight)


def _deciles(run: Run) -> Any:
  """Tenths of tokens or, where labels are of documents, of documents."""
  deciles = run.deciles
  losses = {'compressed': deciles.compressed}
  if deciles.dense is not None:
    losses = {'dense': deciles.dense, **losses}
  if run.is_classification:
    parts = 'tenth of the documents, from those of frequent words to rare ones'
    return plots.plot_deciles(losses, None, deciles.metric, parts)
  return plots.plot_deciles(losses, deciles.edges, deciles.metric)
