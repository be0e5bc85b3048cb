"""Plots of errors and metrics by size, by method and by frequency."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

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
)
from embedcomp.types import Array

if TYPE_CHECKING:
  from matplotlib.axes import Axes


def plot_rate_distortion(
  curves: Mapping[str, tuple[Array, Array]],
  dense_bytes: int | None = None,
  ylabel: str = 'relative error',
  ax: 'Axes | None' = None,
) -> 'Axes':
  """Draws rate-distortion curves: errors by bytes, one line for each name.

  Args:
    curves: by name, [S] bytes in increasing order and [S] errors, e.g.
      `{'mixed': (curve.num_bytes, curve.errors)}` of a `RateDistortionCurve`.
      Curves of up to 20 points get markers.
    dense_bytes: size of the uncompressed table, for an axis of factors.
    ylabel: what the errors are.
    ax: where to draw; a new figure if not given.

  Returns:
    The Axes; sizes are on a logarithmic axis.

  Raises:
    ImportError: without matplotlib.
    ValueError: if there is no curve, or one whose lengths differ.
  """
  if not curves:
    raise ValueError('curves must hold at least one curve, got none.')
  for name, (num_bytes, errors) in curves.items():
    if np.ndim(num_bytes) != 1 or np.shape(num_bytes) != np.shape(errors):
      raise ValueError(
        f'curve {name!r} must be bytes and errors of one length, '
        f'got shapes {np.shape(num_bytes)} and {np.shape(errors)}.'
      )
  ax = make_axes(ax, 7, 4.4)
  for index, (name, (num_bytes, errors)) in enumerate(curves.items()):
    ax.plot(
      num_bytes,
      errors,
      color=COLORS[index % len(COLORS)],
      ls=('-', '--', ':')[index // len(COLORS) % 3],
      lw=2,
      marker='o' if len(num_bytes) <= 20 else None,
      markersize=5,
      label=name,
    )
  ax.set_xscale('log', subs=[])
  locator: Any = ax.xaxis.get_major_locator()  # of logarithmic axes
  locator.set_params(subs=(1, 2, 5))
  ax.xaxis.set_major_formatter(lambda value, _: bytes_text(value))
  ax.grid(color=GRID, lw=0.7)
  ax.set_ylim(bottom=0)
  ax.set_xlabel('bytes on disk')
  ax.set_ylabel(ylabel)
  if dense_bytes is not None:
    _add_factors(ax, dense_bytes)
  if len(curves) > 1:
    ax.legend(frameon=False)
  return ax


def _add_factors(ax: 'Axes', dense_bytes: float) -> None:
  """Ticks on top: how many times smaller than the dense table."""
  low, high = ax.get_xlim()
  steps = np.array([1, 2, 5]) * 10.0 ** np.arange(-1, 7).reshape(-1, 1)
  factors = steps[(steps >= dense_bytes / high) & (steps <= dense_bytes / low)]
  top = ax.secondary_xaxis('top')
  top.set_xticks(dense_bytes / factors, [f'{factor:g}x' for factor in factors])
  top.minorticks_off()
  top.spines['top'].set_visible(False)
  top.tick_params(length=0, labelcolor=FAINT)
  top.set_xlabel('times smaller', color=FAINT)


def plot_size_metric(
  curves: Mapping[str, tuple[Array, Array, Array]],
  dense: tuple[float, float] | None = None,
  ylabel: str = 'accuracy',
  highlight: str | None = None,
  ax: 'Axes | None' = None,
) -> 'Axes':
  """Draws a task's metric by size: one curve with error bars a method.

  Args:
    curves: by name, three arrays [S]: sizes as shares of the dense table in
      increasing order, means of the metric and its standard deviations, NaN
      where there is only one run.
    dense: mean and standard deviation of the uncompressed model, drawn as a
      line with a band; the deviation may be NaN.
    ylabel: the metric.
    highlight: name of the curve to draw boldly, above all others.
    ax: where to draw; a new figure if not given.

  Returns:
    The Axes; sizes are on a logarithmic axis.

  Raises:
    ImportError: without matplotlib.
    ValueError: if there is no curve, or one whose lengths differ or whose
      sizes are not positive.
  """
  _check_curves(curves)
  ax = make_axes(ax, 9.5, max(4.6, 1.8 + 0.24 * len(curves)))
  for index, (name, (sizes, means, deviations)) in enumerate(curves.items()):
    is_bold = name == highlight
    ax.errorbar(
      sizes,
      means,
      deviations,
      **line_style(index),
      lw=2.6 if is_bold else 1.4,
      markersize=8 if is_bold else 5.5,
      markeredgecolor='white',
      markeredgewidth=0.6,
      elinewidth=1.2,
      capsize=3,
      zorder=4 if is_bold else 3,
      label=literal(name),
    )
  if dense is not None:
    _add_dense(ax, dense)
  ax.set_xscale('log', subs=[])
  every = np.concatenate([sizes for sizes, _, _ in curves.values()])
  # Wide enough that one of the ticks at 1, 2 and 5 is always in it.
  ax.set_xlim(every.min() / 1.6, every.max() * 1.6)
  locator: Any = ax.xaxis.get_major_locator()  # of logarithmic axes
  locator.set_params(subs=(1, 2, 5))
  ax.xaxis.set_major_formatter(lambda value, _: f'{100 * value:.3g}%')
  ax.grid(color=GRID, lw=0.7)
  ax.set_xlabel('size, as a share of the dense table')
  ax.set_ylabel(literal(ylabel))
  _add_factors(ax, 1.0)
  ax.legend(loc='upper left', bbox_to_anchor=(1.02, 1), frameon=False)
  return ax


def _check_curves(curves: Mapping[str, tuple[Array, Array, Array]]) -> None:
  if not curves:
    raise ValueError('curves must hold at least one curve, got none.')
  for name, arrays in curves.items():
    shapes = [np.shape(array) for array in arrays]
    if len(set(shapes)) != 1 or len(shapes[0]) != 1 or len(shapes) != 3:
      raise ValueError(
        f'curve {name!r} must be sizes, means and deviations of one length, '
        f'got shapes {shapes}.'
      )
    if not (np.asarray(arrays[0]) > 0).all():
      raise ValueError(
        f'sizes must be positive shares, got {arrays[0]} for {name!r}.'
      )


def _add_dense(
  ax: 'Axes', dense: tuple[float, float], vertical: bool = False
) -> None:
  """The uncompressed model: a line and a band of one standard deviation."""
  value, deviation = dense
  draw_span: Callable[..., Any] = ax.axhspan
  draw_line: Callable[..., Any] = ax.axhline
  if vertical:
    draw_span, draw_line = ax.axvspan, ax.axvline
  label = 'dense'
  if np.isfinite(deviation):
    draw_span(value - deviation, value + deviation, color=INK, alpha=0.12, lw=0)
    label = 'dense, \u00b1 one deviation'
  draw_line(value, color=INK, lw=1.4, ls=(0, (6, 3)), label=label)


def plot_methods(
  values: Mapping[str, tuple[float, float]],
  dense: tuple[float, float] | None = None,
  xlabel: str = 'accuracy',
  highlight: str | None = None,
  ax: 'Axes | None' = None,
) -> 'Axes':
  """Draws a task's metric of methods at one size: a dot with its error each.

  Args:
    values: by name, mean of the metric and its standard deviation, NaN where
      there is only one run; drawn from top to bottom.
    dense: the same of the uncompressed model, a line with a band.
    xlabel: the metric.
    highlight: name of the method to draw boldly.
    ax: where to draw; a new figure if not given.

  Returns:
    The Axes.

  Raises:
    ImportError: without matplotlib.
    ValueError: if there is no method.
  """
  if not values:
    raise ValueError('values must hold at least one method, got none.')
  ax = make_axes(ax, 7.5, 1.5 + 0.34 * len(values))
  for row, (name, (mean, deviation)) in enumerate(values.items()):
    is_bold = name == highlight
    ax.errorbar(
      mean,
      row,
      xerr=deviation,
      color=COLORS[0] if is_bold else FAINT,
      marker='o',
      markersize=9 if is_bold else 6.5,
      elinewidth=1.4,
      capsize=3,
    )
  if dense is not None:
    _add_dense(ax, dense, vertical=True)
    ax.legend(loc='lower left', bbox_to_anchor=(0, 1), frameon=False)
  ax.set_yticks(range(len(values)), [literal(name) for name in values])
  for tick, name in zip(ax.get_yticklabels(), values):
    tick.set_fontweight('bold' if name == highlight else 'normal')
  ax.tick_params(axis='y', length=0)
  ax.set_ylim(len(values) - 0.4, -0.6)  # the first on top
  ax.grid(axis='x', color=GRID, lw=0.7)
  ax.set_xlabel(literal(xlabel))
  return ax


def plot_deciles(
  losses: Mapping[str, Array],
  edges: Sequence[float] | None = None,
  ylabel: str = 'loss',
  xlabel: str = 'tenth of the tokens, from frequent to rare words',
  ax: 'Axes | None' = None,
) -> 'Axes':
  """Draws losses by frequency of words, where an average hides the tail.

  Args:
    losses: by name, [N] losses of tenths (or other parts) of a text, the most
      frequent words first, e.g. 'dense' and 'compressed'; NaN is left out.
      What is between the first two is shaded.
    edges: [N] first rank of each part, the rank of its most frequent word.
    ylabel: what the losses are.
    xlabel: what the parts are.
    ax: where to draw; a new figure if not given.

  Returns:
    The Axes.

  Raises:
    ImportError: without matplotlib.
    ValueError: if there are no losses or lengths differ.
  """
  given = [] if edges is None else [edges]
  lengths = {len(values) for values in (*losses.values(), *given)}
  if not losses or len(lengths) != 1:
    raise ValueError(
      f'losses and edges must have one length, got {sorted(lengths)}.'
    )
  ax = make_axes(ax, 7.5, 4.2)
  parts = np.arange(1, lengths.pop() + 1)
  curves = [np.asarray(values, float) for values in losses.values()]
  for index, (name, values) in enumerate(zip(losses, curves)):
    style = line_style(index)
    ax.plot(parts, values, **style, lw=2, label=literal(name))
  if len(curves) > 1:
    ax.fill_between(
      parts, curves[0], curves[1], color=COLORS[1], alpha=0.15, lw=0
    )
  names = [str(part) for part in parts]
  if edges is not None:
    names = [f'{n}\n{_short(edge)}' for n, edge in zip(names, edges)]
    ax.annotate(
      '\nfirst rank',
      (0, 0),
      xytext=(-8, -6.5),
      xycoords='axes fraction',
      textcoords='offset points',
      ha='right',
      va='top',
      color=FAINT,
    )
  ax.set_xticks(parts, names)
  ax.set_ylim(bottom=min(0.0, ax.get_ylim()[0]))
  ax.grid(axis='y', color=GRID, lw=0.7)
  ax.set_xlabel(literal(xlabel))
  ax.set_ylabel(literal(ylabel))
  ax.legend(frameon=False, loc='best')
  return ax


def _short(value: float) -> str:
  """A count or a share in few characters."""
  return f'{value:,.0f}' if value >= 100 else f'{value:.2g}'
