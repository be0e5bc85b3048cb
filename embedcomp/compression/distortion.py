"""Measured losses of compression options on runs of consecutive words.

A segment of few words is measured by itself. A longer one, bins i to j of many
words, takes the errors that its words have when the option is fitted to all
words from bin i on: under Zipf's law importance falls so fast that the words
after j hardly move the fit, and one fit then serves every j.
"""

import dataclasses

import numpy as np

from embedcomp._internal import threads
from embedcomp._internal.progress import track
from embedcomp.compression.dynamic_program import Segment
from embedcomp.compression.space import SearchSpace
from embedcomp.compression.weighted_table import WeightedTable
from embedcomp.methods import kmeans

# Words of the longest segment that is measured by itself.
OWN_WORDS = 4096
# Words that others are measured on. Codes are fitted to half of them, where
# they lose less; what they lose more of the others makes up for it.
SAMPLE_WORDS = 2 * OWN_WORDS


def measure_segments(
  table: WeightedTable,
  space: SearchSpace,
  *,
  seed: int = 0,
  progress: bool = True,
) -> list[Segment]:
  """Measures every option of a space on every run of its bins.

  Args:
    table: of as many words as the space.
    space: bins and options.
    seed: of samples and starts.
    progress: whether to show a progress bar.

  Returns:
    One segment for each pair of bins, whose losses are weighted squared errors
    of the vectors over `table.scale`; options that do not suit a segment are
    marked as such.
  """
  bins, num_bins = space.bins, space.num_bins
  pairs = [
    (start, stop)
    for start in range(num_bins)
    for stop in range(start + 1, num_bins + 1)
  ]
  jobs = [
    (start, stop)
    for start, stop in pairs
    if stop == num_bins or bins[stop] - bins[start] <= OWN_WORDS
  ]
  results = track(
    threads.map_threads(
      lambda job: _bin_errors(
        table, space, np.array(bins[job[0] : job[1] + 1]), seed
      ),
      jobs,
    ),
    'measuring options',
    enabled=progress,
    total=len(jobs),
    unit='segment',
  )
  errors = dict(zip(jobs, results))
  segments = []
  for start, stop in pairs:
    bin_errors = errors.get((start, stop), errors[start, num_bins])
    losses = bin_errors[:, : stop - start].sum(axis=1)
    num_bytes = space.option_bytes(bins[stop] - bins[start])
    segments.append(Segment(start, stop, num_bytes, losses))
  return segments


def measure_group(
  table: WeightedTable,
  space: SearchSpace,
  start: int,
  stop: int,
  option: int,
  seed: int = 0,
) -> float:
  """Measures an option on the words of some ranks, as `measure_segments`.

  Args:
    table: of as many words as the space.
    space: of the option.
    start: first rank.
    stop: last rank + 1.
    option: its number.
    seed: of samples and starts.

  Returns:
    The weighted squared error; infinite if the option does not suit.
  """
  alone = dataclasses.replace(space, options=(space.options[option],))
  return float(_bin_errors(table, alone, np.array([start, stop]), seed)[0, 0])


def _bin_errors(
  table: WeightedTable, space: SearchSpace, splits: np.ndarray, seed: int
) -> np.ndarray:
  """[O, B] weighted errors between B + 1 ranks, fitted to all these words."""
  ranks = np.arange(splits[0], splits[-1])
  importance = table.ranked_importance[ranks]
  rng = np.random.default_rng(seed)
  energies = table.energies[table.ids[ranks]]
  sample = kmeans.training_sample(importance, SAMPLE_WORDS, rng, energies)
  everything = np.arange(len(ranks)), importance.astype(np.float32)
  suits_sample, suits_all = (
    space.option_bytes(len(rows)) >= 0 for rows, _ in (sample, everything)
  )
  errors = np.full((len(space.options), len(splits) - 1), np.inf)
  batches: dict[tuple, list[int]] = {}
  for index, option in enumerate(space.options):
    if suits_sample[index]:
      batches.setdefault((type(option), False), []).append(index)
    elif suits_all[index]:  # more codewords than words in the sample
      batches.setdefault((type(option), True), []).append(index)
  for (cls, is_whole), indices in batches.items():
    rows, mass = everything if is_whole else sample
    # Words without any importance cost nothing, but a fit needs some.
    fit_mass = mass if mass.any() else np.ones_like(mass)
    vectors = table.ranked_vectors(ranks[rows])
    options = [space.options[index] for index in indices]
    word_errors = cls.distortions(options, vectors, fit_mass, seed)
    edges = np.searchsorted(ranks[rows], splits[:-1])
    errors[indices] = np.add.reduceat(word_errors * mass, edges, axis=1)
  return errors
