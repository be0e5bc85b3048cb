"""Pictures of frequencies, of sizes, and of what sizes cost.

Each function draws into the Axes it is given, or into a new figure, and
returns the Axes. Needs matplotlib: `pip install 'embedcomp[plots]'`.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from embedcomp import frequency
from embedcomp.methods import registry
from embedcomp.scheme import Scheme
from embedcomp.types import Array

if TYPE_CHECKING:
  from matplotlib.axes import Axes

# Distinct for all kinds of colour vision (Okabe & Ito, 2008).
_COLORS = ('#0072B2', '#E69F00', '#009E73', '#CC79A7', '#56B4E9', '#D55E00')
_INK = '#222222'
_FAINT = '#666666'
# Points of a drawn line; more are not seen and make vector files heavy.
_LINE_POINTS = 500


def _axes(ax: 'Axes | None', width: float, height: float) -> 'Axes':
  """The given Axes, or those of a new figure, without needless frames."""
  if ax is None:
    try:
      from matplotlib import pyplot
    except ImportError as error:
      raise ImportError(
        "plots need matplotlib: pip install 'embedcomp[plots]'."
      ) from error
    _, ax = pyplot.subplots(figsize=(width, height), layout='constrained')
  ax.spines[['top', 'right']].set_visible(False)
  ax.set_axisbelow(True)
  return ax


def bytes_text(num_bytes: float) -> str:
  """A size in the unit that reads best, 1 kB being 1,000 bytes.

  Example:
    >>> bytes_text(999), bytes_text(23_440_896)
    ('999 B', '23.4 MB')
  """
  for unit in ('B', 'kB', 'MB', 'GB'):
    if num_bytes < 999.5 or unit == 'GB':
      break
    num_bytes /= 1000
  digits = f'{num_bytes:.3g}' if num_bytes < 999.5 else f'{num_bytes:.0f}'
  return f'{digits} {unit}'


def _group_label(index: int, scheme: Scheme) -> str:
  group = scheme.groups[index]
  return f'{index + 1}  {registry.describe(group.method)}'


def plot_frequency(
  counts: Array, scheme: Scheme | None = None, ax: 'Axes | None' = None
) -> 'Axes':
  """Draws how often words occur by rank, and how much of a text they cover.

  Both axes are logarithmic, the coverage has its own axis on the right. A
  Zipf-Mandelbrot law is fitted where at least 3 words occur.

  Args:
    counts: [V] tokens of each word, any order; words that never occur are not
      drawn.
    scheme: whose groups are shaded, the most frequent words in the first.
    ax: where to draw; a new figure if not given.

  Returns:
    The Axes of the frequencies.

  Raises:
    ImportError: without matplotlib.
    ValueError: if counts are not valid or not those of the scheme's words.
  """
  counts = frequency.check_counts(counts, scheme and scheme.vocab_size)
  shares = frequency.coverage(counts)
  counts = np.sort(counts)[::-1]
  num_lines = 3 + (len(scheme.groups) if scheme else 0)
  ax = _axes(ax, 7.5, 4.4 + 0.2 * num_lines)
  occurring = int((counts > 0).sum())
  ranks = np.unique(
    np.geomspace(1, occurring, _LINE_POINTS).round().astype(int)
  )
  ax.loglog(
    ranks, counts[ranks - 1], color=_COLORS[0], lw=2.5, label='tokens of a word'
  )
  if occurring >= 3:
    law = frequency.fit_zipf_mandelbrot(counts)
    ax.loglog(
      ranks,
      law.frequency(ranks),
      color=_INK,
      lw=1.2,
      ls=(0, (4, 2)),
      label=(
        f'Zipf-Mandelbrot: exponent {law.exponent:.2f}, shift {law.shift:.1f}'
        f' ($R^2$ {law.r_squared:.3f})'
      ),
    )
  ax.set_xlabel('rank of the word')
  ax.set_ylabel('tokens', color=_COLORS[0])
  ax.set_xlim(0.8, max(len(counts), 2))
  covered = ax.twinx()
  covered.plot(
    ranks,
    100 * shares[ranks - 1],
    color=_COLORS[5],
    lw=1.8,
    label='share of all tokens up to this rank',
  )
  covered.set_ylim(0, 104)
  covered.set_ylabel('coverage (%)', color=_COLORS[5])
  covered.spines['top'].set_visible(False)
  handles = [*ax.get_lines(), *covered.get_lines()]
  if scheme is not None:
    handles += _shade_groups(ax, scheme)
  ax.legend(
    handles=handles,
    loc='upper left',
    bbox_to_anchor=(0, -0.12),
    frameon=False,
    fontsize='small',
  )
  return ax


def _shade_groups(ax: 'Axes', scheme: Scheme) -> list:
  """Bands of ranks, numbered; returns what the legend shows."""
  left, right = ax.get_xlim()
  bands = []
  for index, (start, stop) in enumerate(zip(scheme.splits, scheme.splits[1:])):
    # Ranks start at 1; a band ends half way to the next word.
    low = start + 0.5 if start else left
    high = stop + 0.5 if stop < scheme.vocab_size else right
    size = scheme.groups[index].size
    words = f'{size:,} word' + 's' * (size > 1)
    bands.append(
      ax.axvspan(
        low,
        high,
        color=_COLORS[(index + 1) % len(_COLORS)],
        alpha=0.16,
        lw=0,
        label=f'{_group_label(index, scheme)}: {words}',
      )
    )
    ax.text(
      np.sqrt(low * high),
      1.01,
      str(index + 1),
      transform=ax.get_xaxis_transform(),
      ha='center',
      va='bottom',
      color=_INK,
      fontweight='bold',
    )
  return bands


def plot_sizes(scheme: Scheme, ax: 'Axes | None' = None) -> 'Axes':
  """Draws the bytes of each group, divided by what they hold.

  Args:
    scheme: the scheme.
    ax: where to draw; a new figure if not given.

  Returns:
    The Axes, one horizontal bar a group and one for a stored order.

  Raises:
    ImportError: without matplotlib.
  """
  parts = [
    group.method.bytes_by_role(shape)
    for group, shape in zip(scheme.groups, scheme.shapes)
  ]
  labels = [
    f'{_group_label(index, scheme)}\nranks {start:,} to {stop - 1:,}'
    for index, (start, stop) in enumerate(zip(scheme.splits, scheme.splits[1:]))
  ]
  if scheme.order == 'stored':
    parts.append(scheme.order_part.bytes_by_role())
    labels.append('order map\nall words')
  ax = _axes(ax, 9.5, 1.3 + 0.6 * len(parts))
  roles = list(dict.fromkeys(role for part in parts for role in part))
  left = np.zeros(len(parts))
  for role, color in zip(roles, (*_COLORS, *_COLORS)):
    sizes = np.array([part.get(role, 0) for part in parts])
    ax.barh(range(len(parts)), sizes, 0.62, left, color=color, label=role)
    left += sizes
  for index, total in enumerate(left):
    share = total / scheme.num_bytes
    ax.annotate(
      f'{bytes_text(total)}  ({f"{share:.0%}" if share >= 0.005 else "<1%"})',
      (total, index),
      xytext=(5, 0),
      textcoords='offset points',
      va='center',
      color=_INK,
    )
  ax.set_yticks(range(len(parts)), labels)
  ax.invert_yaxis()  # the first group on top
  ax.tick_params(axis='y', length=0)
  ax.set_xlim(0, 1.45 * left.max())  # room for the sizes
  ax.locator_params(axis='x', nbins=5)
  ax.xaxis.set_major_formatter(lambda value, _: bytes_text(value))
  ax.grid(axis='x', color='#dddddd', lw=0.7)
  ax.set_xlabel('bytes on disk')
  ax.set_title(
    f'{bytes_text(scheme.num_bytes)} of {bytes_text(scheme.dense_bytes)}: '
    f'{scheme.factor:.1f}x smaller than {scheme.dtype}',
    loc='left',
    fontsize='medium',
  )
  ax.legend(loc='upper left', bbox_to_anchor=(1.01, 1), frameon=False)
  return ax


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
  ax = _axes(ax, 7, 4.4)
  for index, (name, (num_bytes, errors)) in enumerate(curves.items()):
    ax.plot(
      num_bytes,
      errors,
      color=_COLORS[index % len(_COLORS)],
      ls=('-', '--', ':')[index // len(_COLORS) % 3],
      lw=2,
      marker='o' if len(num_bytes) <= 20 else None,
      markersize=5,
      label=name,
    )
  ax.set_xscale('log', subs=[])
  ax.xaxis.get_major_locator().set_params(subs=(1, 2, 5))
  ax.xaxis.set_major_formatter(lambda value, _: bytes_text(value))
  ax.grid(color='#dddddd', lw=0.7)
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
  top.tick_params(length=0, labelcolor=_FAINT)
  top.set_xlabel('times smaller', color=_FAINT)
