"""Measured losses of compression options on runs of consecutive words.

A segment of few words is measured by itself. A longer one, bins i to j of many
words, takes the errors that its words have when the option is fitted to all
words from bin i on: under Zipf's law the weights fall so fast that the words
after j hardly move the fit, and one fit then serves every j.
"""

from collections.abc import Callable, Sequence

import numpy as np

from embedcomp._internal import threads
from embedcomp._internal.progress import track
from embedcomp.compression.dynamic_program import Segment
from embedcomp.methods import Method, kmeans
from embedcomp.types import Shape

# Words that an option is fitted to when it is measured.
SAMPLE_WORDS = 4096


def measure(
  rows: Callable[[np.ndarray], np.ndarray],
  weights: np.ndarray,
  options: Sequence[Method],
  bins: Sequence[int],
  *,
  seed: int = 0,
  progress: bool = True,
) -> list[Segment]:
  """Measures every option on every run of bins.

  Args:
    rows: takes ranks to their vectors, [W] to [W, D] float32.
    weights: [V] non-negative, by rank.
    options: configs of methods.
    bins: the J + 1 ranks at which bins start and end.
    seed: of samples and starts.
    progress: whether to show a progress bar.

  Returns:
    One segment for each pair of bins, whose losses are weighted squared
    errors; options that do not suit a segment are marked as such.
  """
  num_bins = len(bins) - 1
  jobs = [
    (start, stop)
    for start in range(num_bins)
    for stop in range(start + 1, num_bins + 1)
    if stop == num_bins or bins[stop] - bins[start] <= SAMPLE_WORDS
  ]

  def run(job):
    return _bin_errors(rows, weights, options, bins, *job, seed)

  done = track(
    threads.map_threads(run, jobs),
    'measuring options',
    enabled=progress,
    total=len(jobs),
    unit='segment',
  )
  errors = dict(zip(jobs, done))
  features = rows(np.arange(1)).shape[1]
  segments = []
  for start in range(num_bins):
    for stop in range(start + 1, num_bins + 1):
      measured = errors.get((start, stop), errors[start, num_bins])
      losses = measured[:, : stop - start].sum(axis=1)
      shape = Shape(bins[stop] - bins[start], features)
      num_bytes = [
        option.num_bytes(shape) if suits(option, shape) else -1
        for option in options
      ]
      segments.append(Segment(start, stop, np.array(num_bytes), losses))
  return segments


def suits(option: Method, shape: Shape) -> bool:
  """Whether a method can stand in for a table of this shape."""
  try:
    option.validate(shape)
  except ValueError:
    return False
  return True


def _bin_errors(rows, weights, options, bins, start, stop, seed):
  """[O, stop - start] weighted errors in each bin of a measured segment."""
  ranks = np.arange(bins[start], bins[stop])
  rng = np.random.default_rng(seed)
  sample = kmeans.training_sample(weights[ranks], SAMPLE_WORDS, rng)
  everything = np.arange(len(ranks)), weights[ranks].astype(np.float32)
  features = rows(np.arange(1)).shape[1]
  small, large = (Shape(len(s[0]), features) for s in (sample, everything))
  errors = np.full((len(options), stop - start), np.inf)
  batches: dict[tuple, list[int]] = {}
  for index, option in enumerate(options):
    if suits(option, small):
      batches.setdefault((type(option), False), []).append(index)
    elif suits(option, large):  # more codewords than words in the sample
      batches.setdefault((type(option), True), []).append(index)
  for (cls, whole), indices in batches.items():
    chosen, mass = everything if whole else sample
    # Words without any weight cost nothing, but a fit needs some.
    fit_mass = mass if mass.any() else np.ones_like(mass)
    words = cls.distortions(
      [options[i] for i in indices], rows(ranks[chosen]), fit_mass, seed
    )
    edges = np.searchsorted(ranks[chosen], bins[start:stop])
    errors[indices] = np.add.reduceat(words * mass, edges, axis=1)
  return errors
