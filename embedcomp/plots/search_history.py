"""Plots of a search: probabilities and logged metrics, step by step."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from embedcomp.plots.style import (
  COLORS,
  FAINT,
  GRID,
  INK,
  bytes_text,
  line_style,
  literal,
  make_axes,
  make_panels,
)
from embedcomp.types import Array

if TYPE_CHECKING:
  from matplotlib.axes import Axes
  from matplotlib.figure import Figure

# More bins or options than this are not told apart in one picture.
_MOST_BINS = 6
_MOST_OPTIONS = 8


def plot_probabilities(
  steps: Array,
  mixture: Array,
  options: Sequence[str],
  bins: Sequence[int],
  bytes_per_word: Array,
) -> 'Figure':
  """Draws probabilities of options by step: stacked areas, a panel a bin.

  At most six bins are drawn, evenly spread, the first and last among them, and
  at most eight options, those that were ever likeliest; the rest is grey.

  Args:
    steps: [T] increasing.
    mixture: [T, B, O] probability of each option in each bin.
    options: O names.
    bins: the B + 1 ranks between which bins lie.
    bytes_per_word: [O] price of each option; the cheapest are drawn darkest, at
      the bottom.

  Returns:
    The figure.

  Raises:
    ImportError: without matplotlib.
    ValueError: if shapes do not fit.
  """
  mixture = np.asarray(mixture, float)
  shape = (len(steps), len(bins) - 1, len(options))
  if mixture.shape != shape or len(bytes_per_word) != len(options):
    raise ValueError(
      f'mixture must be [steps, bins, options] = {shape} and bytes_per_word '
      f'[{len(options)}], got shapes {mixture.shape} and '
      f'({len(bytes_per_word)},).'
    )
  num_bins = len(bins) - 1
  shown = np.linspace(0, num_bins - 1, min(num_bins, _MOST_BINS))
  shown = shown.round().astype(int)
  areas, names, colors = _areas(mixture[:, shown], options, bytes_per_word)
  figure, panels = make_panels(
    len(shown), 2.3, 'step', sharex=True, sharey=True
  )
  for index, (ax, bin_) in enumerate(zip(panels, shown)):
    stack = ax.stackplot(
      steps,
      areas[:, index].T,
      colors=colors,
      edgecolor='white',
      lw=0.4,
    )
    ax.set_title(
      f'ranks {bins[bin_]:,} to {bins[bin_ + 1] - 1:,}', fontsize='medium'
    )
    ax.set_ylim(0, 1)
    ax.margins(x=0)
    ax.yaxis.set_major_formatter(lambda value, _: f'{100 * value:.0f}%')
    ax.locator_params(axis='x', nbins=4)
  figure.supylabel('probability of the options', fontsize='medium')
  figure.legend(
    stack[::-1],
    names[::-1],
    loc='outside lower center',
    ncols=2,
    frameon=False,
    fontsize='small',
  )
  return figure


def _areas(
  mixture: np.ndarray, options: Sequence[str], bytes_per_word: Array
) -> tuple[np.ndarray, list[str], list]:
  """Stacked areas, [T, bins, areas], with names and colours."""
  from matplotlib import colormaps

  peaks = mixture.max(axis=(0, 1))
  kept = np.argsort(-peaks, kind='stable')[:_MOST_OPTIONS]
  kept = kept[np.argsort(np.asarray(bytes_per_word)[kept], kind='stable')]
  names = [literal(options[index]) for index in kept]
  colors = [colormaps['viridis'](x) for x in np.linspace(0, 0.97, len(kept))]
  areas = mixture[:, :, kept]
  num_others = len(options) - len(kept)
  if num_others:
    rest = np.maximum(1 - areas.sum(axis=-1, keepdims=True), 0)
    areas = np.concatenate([areas, rest], axis=-1)
    names.append(f'{num_others} other' + 's' * (num_others > 1))
    colors.append('#bbbbbb')
  return areas, names, colors


def plot_splits(
  steps: Array,
  splits: Array,
  bins: Sequence[int],
  ax: 'Axes | None' = None,
) -> 'Axes':
  """Draws the expected positions of split points, step by step.

  A line is the mean of a split's position, given that it is used, in the
  logarithm of ranks, dotted where it is likelier unused than used. The
  shade behind is how many splits are expected at each candidate.

  Args:
    steps: [T] increasing.
    splits: [T, S, B] probability of each split after each bin; the last
      outcome is "unused".
    bins: the B + 1 ranks between which bins lie.
    ax: where to draw; a new figure if not given.

  Returns:
    The Axes; ranks are on a logarithmic axis.

  Raises:
    ImportError: without matplotlib.
    ValueError: if shapes do not fit.
  """
  splits = np.asarray(splits, float)
  if splits.ndim != 3 or splits.shape[::2] != (len(steps), len(bins) - 1):
    raise ValueError(
      f'splits must be [{len(steps)}, S, {len(bins) - 1}], got shape '
      f'{splits.shape}.'
    )
  ax = make_axes(ax, 8.5, 4.0)
  steps, positions = np.asarray(steps), np.asarray(bins[1:-1], float)
  _shade_splits(ax, steps, splits[..., :-1].sum(axis=1), bins)
  used = splits[..., :-1].sum(axis=-1)
  if_used = splits[..., :-1] / np.maximum(used, 1e-30)[..., None]
  means = np.exp(if_used @ np.log(positions))
  for index in range(splits.shape[1]):
    style = line_style(index) | {'ls': '-'}
    mean, is_used = means[:, index], used[:, index] >= 0.5
    ax.plot(steps, mean, color=style['color'], lw=1.4, ls=':')
    ax.plot(
      steps,
      np.where(is_used, mean, np.nan),
      **style,
      lw=2.2,
      markevery=max(1, len(steps) // 8),
      label=f'split {index + 1}, probability of use {used[-1, index]:.0%}',
    )
  ax.set_yscale('log')
  ax.set_ylim(bins[-1], np.sqrt(bins[1]))  # the most frequent words on top
  ax.yaxis.set_major_formatter(lambda value, _: f'{value:,.0f}')
  ax.set_xlim(steps.min(), max(steps.max(), steps.min() + 1))
  ax.set_xlabel('step')
  ax.set_ylabel('rank of the split')
  if splits.shape[1]:
    ax.legend(
      loc='upper left',
      bbox_to_anchor=(0, -0.16),
      ncols=3,
      frameon=False,
      fontsize='small',
    )
  return ax


def _shade_splits(
  ax: 'Axes', steps: np.ndarray, expected: np.ndarray, bins: Sequence[int]
) -> None:
  """Darkens candidates, [T, B - 1], by how many splits are expected there."""
  if expected.shape[1] == 0 or len(steps) < 2:
    return
  from matplotlib.colors import LinearSegmentedColormap

  edges = np.sqrt(np.multiply(np.maximum(bins[:-1], 1.0), bins[1:]))
  middles = (steps[:-1] + steps[1:]) / 2
  shades = LinearSegmentedColormap.from_list('', ['#ffffff', '#8a8a8a'])
  mesh = ax.pcolormesh(
    [steps[0], *middles, steps[-1]],
    edges,
    expected.T,
    cmap=shades,
    vmin=0,
    zorder=0,
    rasterized=True,
  )
  bar = ax.figure.colorbar(mesh, ax=ax, pad=0.02, aspect=30)
  bar.set_label('splits expected', color=FAINT)
  bar.outline.set_visible(False)


def plot_metrics(
  curves: Mapping[str, tuple[Array, Array]],
  goals: Mapping[str, float] | None = None,
) -> 'Figure':
  """Draws the logged metrics of a run, a small panel for each name.

  Args:
    curves: by name, [T] steps and [T] values; NaN is left out. Names with
      'bytes' in them are shown as sizes.
    goals: values by name, drawn as dashed lines, such as a budget.

  Returns:
    The figure.

  Raises:
    ImportError: without matplotlib.
    ValueError: if there is no curve, or a goal of none.
  """
  goals = goals or {}
  if not curves or not set(goals) <= set(curves):
    raise ValueError(
      f'each goal needs a curve of its name, got goals {sorted(goals)} and '
      f'curves {sorted(curves)}.'
    )
  figure, panels = make_panels(len(curves), 2.1, 'step')
  for ax, (name, (steps, values)) in zip(panels, curves.items()):
    ax.plot(steps, np.asarray(values, float), color=COLORS[0], lw=1.8)
    if name in goals:
      ax.axhline(goals[name], color=INK, lw=1.2, ls=(0, (5, 3)))
    if 'bytes' in name:
      ax.yaxis.set_major_formatter(lambda value, _: bytes_text(value))
    ax.set_title(literal(name.replace('_', ' ')), fontsize='medium')
    ax.grid(color=GRID, lw=0.7)
    ax.locator_params(nbins=4)
    ax.tick_params(labelcolor=FAINT)
  return figure
