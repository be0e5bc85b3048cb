"""Sizes at equal metric, from the rows of a comparison."""

from collections.abc import Sequence

import numpy as np

from experiments.benchmarks.contestants import LOW_RANK
from experiments.benchmarks.record import Row
from experiments.report import comparison_page


def low_rank_ratio(rows: Sequence[Row], value: float, better: int) -> float:
  """The size at which uniform low rank reaches a metric.

  Each rank counts with the better of its two trainings. Between two ranks by
  the logarithm of the size; the curve is made monotone first, in favour of low
  rank.

  Args:
    rows: of all contestants.
    value: mean test metric to reach.
    better: 1 if higher is better, -1 if lower.

  Returns:
    A share of the dense table; infinite if no rank reaches it.
  """
  best: dict[float, float] = {}
  for label in LOW_RANK:
    for ratio, own in _by_size(rows, label).items():
      best[ratio] = max(best.get(ratio, -np.inf), better * _mean(own, 'value'))
  curve = sorted(best.items())
  ratios = np.array([ratio for ratio, _ in curve])
  means = np.maximum.accumulate([mean for _, mean in curve])
  wanted = better * value
  if wanted > means[-1] + 1e-9:  # means of equal values differ in a last bit
    return float('inf')
  if wanted <= means[0]:
    return float(ratios[0])
  wanted = min(wanted, means[-1])
  right = int(np.searchsorted(means, wanted))
  low, high = means[right - 1], means[right]
  share = (wanted - low) / (high - low)
  logs = np.log(ratios[right - 1 : right + 1])
  return float(np.exp(logs[0] + share * (logs[1] - logs[0])))


def _by_size(rows: Sequence[Row], label: str) -> dict[float, list[Row]]:
  """Rows of a label by their budget, or else by their size."""
  ours = [row for row in rows if row['label'] == label]
  return {
    # Sizes of equal ranks are equal but for a few bytes.
    same[0].get('budget') or float(f'{_mean(same, "ratio"):.2g}'): same
    for same in comparison_page.by_size(ours)
  }


def _paired(rows, size: float, own: Sequence[Row], digits: int) -> str:
  """The mean of the search at the same budget over the same seeds."""
  seeds = {row['seed'] for row in own}
  searches = _by_size(rows, 'search').get(size, [])
  same = [row for row in searches if row['seed'] in seeds]
  return f'{_mean(same, "value"):.{digits}f}' if same else ''


def _mean(rows: Sequence[Row], field: str) -> float:
  return float(np.mean([row[field] for row in rows]))


def summarise(rows: Sequence[Row]) -> list[Row]:
  """One row for each contestant and size.

  Args:
    rows: of a comparison.

  Returns:
    Test metric (mean, deviation, seeds), and `of low rank`: bytes over those
    with which uniform low rank reaches the same mean.
  """
  better = 1 if rows[0]['higher_is_better'] else -1
  table = []
  for label in dict.fromkeys(row['label'] for row in rows):
    for size, own in sorted(_by_size(rows, label).items()):
      mean, ratio = _mean(own, 'value'), _mean(own, 'ratio')
      at = low_rank_ratio(rows, mean, better)
      digits = 4 if better > 0 else 2
      spread = np.std([row['value'] for row in own])
      seconds = float(np.median([row['seconds'] for row in own]))
      table.append(
        {
          'method': label,
          'budget': f'{size:.2%}',
          'used': f'{ratio:.2%}',
          'test': f'{mean:.{digits}f} ± {spread:.{digits}f}',
          'seeds': len(own),
          'search, these seeds': _paired(rows, size, own, digits),
          'of low rank': 'not reached' if at == np.inf else f'{ratio / at:.1%}',
          'seconds': round(seconds, 1),
        }
      )
  return table
