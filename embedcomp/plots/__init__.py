"""Plots of frequencies, sizes, errors and metrics by size, searches, attention.

Each function draws into the Axes it is given, or into a new figure, and
returns the Axes; those of several panels return their figure. Needs
matplotlib: `pip install 'embedcomp[plots]'`.
"""

from embedcomp.plots.attention_pattern import plot_pattern
from embedcomp.plots.frequencies import plot_frequency
from embedcomp.plots.search_history import (
  plot_metrics,
  plot_probabilities,
  plot_splits,
)
from embedcomp.plots.size_metric import (
  plot_deciles,
  plot_methods,
  plot_rate_distortion,
  plot_size_metric,
)
from embedcomp.plots.sizes import plot_sizes
from embedcomp.plots.style import bytes_text

__all__ = [
  'bytes_text',
  'plot_deciles',
  'plot_frequency',
  'plot_methods',
  'plot_metrics',
  'plot_pattern',
  'plot_probabilities',
  'plot_rate_distortion',
  'plot_size_metric',
  'plot_sizes',
  'plot_splits',
]
