"""Plot of the bytes of a scheme by group and role."""

from typing import TYPE_CHECKING

import numpy as np

from embedcomp.methods import registry
from embedcomp.plots.style import COLORS, GRID, INK, bytes_text, make_axes
from embedcomp.table.scheme import Scheme

if TYPE_CHECKING:
  from matplotlib.axes import Axes


_LONGEST = 44  # letters of a label
# What a row of a size table has beside bytes by role.
_NOT_ROLES = ('ranks', 'method', 'bytes')


def group_label(index: int, scheme: Scheme) -> str:
  """Number and method of a group, cut off if it is long."""
  text = registry.describe(scheme.groups[index].method)
  text = text if len(text) <= _LONGEST else f'{text[: _LONGEST - 3]}...'
  return f'{index + 1}  {text}'


def plot_sizes(scheme: Scheme, ax: 'Axes | None' = None) -> 'Axes':
  """Draws the bytes of each group, divided by what they hold.

  Args:
    scheme: the scheme.
    ax: where to draw; a new figure if not given.

  Returns:
    The Axes, one horizontal bar a group, and one each for what groups share
    and for a stored order.

  Raises:
    ImportError: without matplotlib.
  """
  rows = scheme.size_table()
  parts = [
    {name: value for name, value in row.items() if name not in _NOT_ROLES}
    for row in rows
  ]
  labels = [
    f'{group_label(index, scheme)}\nranks {start:,} to {stop - 1:,}'
    for index, (start, stop) in enumerate(zip(scheme.splits, scheme.splits[1:]))
  ]
  for index in range(len(labels), len(rows)):  # of all groups together
    labels.append(f'{rows[index]["method"]}\nall words')
    parts[index] = parts[index] or {'order map': rows[index]['bytes']}
  ax = make_axes(ax, 9.5, 1.3 + 0.6 * len(parts))
  roles = list(dict.fromkeys(role for part in parts for role in part))
  left = np.zeros(len(parts))
  for role, color in zip(roles, (*COLORS, *COLORS)):
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
      color=INK,
    )
  ax.set_yticks(range(len(parts)), labels)
  ax.invert_yaxis()  # the first group on top
  ax.tick_params(axis='y', length=0)
  ax.set_xlim(0, 1.45 * left.max())  # room for the sizes
  ax.locator_params(axis='x', nbins=5)
  ax.xaxis.set_major_formatter(lambda value, _: bytes_text(value))
  ax.grid(axis='x', color=GRID, lw=0.7)
  ax.set_xlabel('bytes on disk')
  ax.set_title(
    f'{bytes_text(scheme.num_bytes)} of {bytes_text(scheme.dense_bytes)}: '
    f'{scheme.factor:.1f}x smaller than {scheme.dtype}',
    loc='left',
    fontsize='medium',
  )
  ax.legend(loc='upper left', bbox_to_anchor=(1.01, 1), frameon=False)
  return ax
