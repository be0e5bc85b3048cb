"""What sizes cost: errors and metrics beside bytes."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from embedcomp.plots.style import (
  COLORS,
  FAINT,
  GRID,
  bytes_text,
  make_axes,
)
from embedcomp.types import Array

if TYPE_CHECKING:
  from matplotlib.axes import Axes


def plot_frontier(
  curves: Mapping[str, tuple[Array, Array]],
  dense_bytes: int | None = None,
  ylabel: str = 'relative error',
  ax: 'Axes | None' = None,
) -> 'Axes':
  """Draws what sizes cost: one size-error curve for each name.

  Args:
    curves: by name, [S] bytes in increasing order and [S] errors, e.g.
      `{'mixed': (curve.num_bytes, curve.errors)}` of `embedcomp.frontier`.
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
  ax.xaxis.get_major_locator().set_params(subs=(1, 2, 5))
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


def _add_factors(ax: 'Axes', dense_bytes: int) -> None:
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
