"""Pictures of frequencies, of sizes, of a search, and of what sizes cost.

Each function draws into the Axes it is given, or into a new figure, and
returns the Axes; those with several panels return a Figure. Needs matplotlib:
`pip install 'embedcomp[plots]'`.
"""

from embedcomp.plots.comparison import plot_frontier
from embedcomp.plots.frequencies import plot_frequency
from embedcomp.plots.sizes import plot_sizes
from embedcomp.plots.style import bytes_text

__all__ = ['bytes_text', 'plot_frequency', 'plot_frontier', 'plot_sizes']
