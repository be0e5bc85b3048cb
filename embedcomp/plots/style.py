"""Style of all plots: colours, frames, sizes in words."""

from typing import TYPE_CHECKING, Any

from embedcomp._internal import optional

if TYPE_CHECKING:
  from matplotlib.axes import Axes
  from matplotlib.figure import Figure

# Distinct for all kinds of colour vision (Okabe & Ito, 2008).
COLORS = ('#0072B2', '#E69F00', '#009E73', '#CC79A7', '#56B4E9', '#D55E00')
INK = '#222222'
FAINT = '#666666'
GRID = '#dddddd'
_LINES = ('-', '--', ':')
_MARKERS = 'osD^vPX'


def _pyplot() -> Any:
  """The module, or an error that says how to get it."""
  return optional.require('matplotlib.pyplot', extra='plots')


def _plain_frame(ax: 'Axes') -> 'Axes':
  ax.spines[['top', 'right']].set_visible(False)
  ax.set_axisbelow(True)
  return ax


def make_axes(ax: 'Axes | None', width: float, height: float) -> 'Axes':
  """The given Axes, or those of a new figure, without needless frames."""
  if ax is None:
    _, ax = _pyplot().subplots(figsize=(width, height), layout='constrained')
  return _plain_frame(ax)


def make_panels(
  number: int, height: float, xlabel: str, **shared: bool
) -> tuple['Figure', list['Axes']]:
  """A new figure of small panels, up to three in a row.

  Args:
    number: of panels, at least 1.
    height: of a row, in inches.
    xlabel: below the last panel of each column.
    **shared: `sharex` and `sharey` of `pyplot.subplots`.

  Returns:
    The figure and its Axes in reading order.
  """
  columns = 2 if number == 4 else min(number, 3)
  rows = -(-number // columns)
  figure, grid = _pyplot().subplots(
    rows,
    columns,
    figsize=(9.5 if columns > 1 else 5, height * rows),
    layout='constrained',
    squeeze=False,
    **shared,
  )
  for unused in grid.flat[number:]:
    unused.remove()
  panels = [_plain_frame(ax) for ax in grid.flat[:number]]
  for ax in panels[-columns:]:
    ax.set_xlabel(xlabel)
    ax.tick_params(labelbottom=True)
  return figure, panels


def line_style(index: int) -> dict[str, Any]:
  """Colour, dashes and marker of the line of this number.

  Markers and colours repeat after different numbers: 126 lines differ, and 18
  of them without colours too.
  """
  return {
    'color': COLORS[index % len(COLORS)],
    'ls': _LINES[index // len(COLORS) % len(_LINES)],
    'marker': _MARKERS[index % len(_MARKERS)],
  }


def literal(text: str) -> str:
  """A text that matplotlib shows as it is, dollar signs too."""
  return text.replace('$', r'\$')


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
