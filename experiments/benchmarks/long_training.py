"""Ways to read long texts, each with a model that is trained for it."""

import functools
import itertools
from collections.abc import Sequence

import numpy as np

from configs import long_documents
from experiments import strategies
from experiments.benchmarks import short_texts
from experiments.benchmarks.record import Job, Row
from experiments.benchmarks.tables import mean_and_deviation
from experiments.problems import load_texts, make_problem
from experiments.trainer import Trainer

_ATTENTIONS = ('recursive', 'sliding_window', 'local', 'dense')


class LongTraining:
  """A benchmark (see `record`) of one variant of the config.

  Attributes:
    SEEDS: of each way to read, if the command does not say.
  """

  SEEDS = 3

  def __init__(
    self, variant: str, lengths: tuple[int, ...], *, generated: bool = False
  ):
    """Loads nothing yet.

    Args:
      variant: of `configs/long_documents.py`.
      lengths: tokens that are read; the first is that of windows, and of
        sentences that are drawn at random.
      generated: whether texts are generated: models then learn from short ones
        first, no sentences are drawn, for there are none, and what their first
        word tells is measured.
    """
    self.__doc__ = f'Ways to read, configs/long_documents:{variant}, trained.'
    self._variant, self._lengths = variant, lengths
    self._generated = generated

  def jobs(self, *, smoke: bool, seeds: int) -> Sequence[Job]:
    """One job for each way to read and seed."""
    window, *lengths = (16, 64) if smoke else self._lengths
    ways = [('first', 'dense', window)]
    if not self._generated:
      ways.append(('sentences', 'dense', window))
    ways += [('windows', 'dense', length) for length in lengths]
    ways += itertools.product(('first',), _ATTENTIONS, lengths)
    jobs = [
      Job(
        ' '.join(map(str, (*way, seed))),
        functools.partial(self._run, smoke, way, window, seed),
      )
      for seed, way in itertools.product(range(seeds), ways)
    ]
    if self._generated:
      first_word = functools.partial(self._first_word, smoke)
      jobs.append(Job('first word', first_word))
    return jobs

  def _first_word(self, smoke: bool) -> list[Row]:
    """Takes the label that goes most often with a text's first word."""
    config = long_documents.get_config('smoke' if smoke else self._variant)
    splits = load_texts(config, progress=False).splits
    labels: dict[str, list[int]] = {}
    for text, label in zip(splits['train'].texts, splits['train'].labels):
      labels.setdefault(text.split()[0], []).append(label)
    label_of = {word: np.bincount(own).argmax() for word, own in labels.items()}
    found = {}
    for name in ('validation', 'test'):
      said = [label_of.get(text.split()[0], -1) for text in splits[name].texts]
      found[name] = 100 * np.mean(said == splits[name].labels)
    return [
      {
        'reading': 'first word',
        'attention': 'none',
        'length': 1,
        'seed': 0,
        **found,
        'tokens': len(splits['train']),
        'seconds': 0.0,
      }
    ]

  def _run(self, smoke: bool, way, window: int, seed: int) -> list[Row]:
    """Trains a model."""
    reading, attention, length = way
    config = long_documents.get_config('smoke' if smoke else self._variant)
    # Few shapes to compile, and little padding.
    buckets = [size for size in self._lengths if window <= size < length]
    config.update_from_flattened_dict(
      {
        'seed': seed,
        'bert.attention': attention,
        'bert.max_length': window if reading == 'windows' else length,
        'data.buckets': (*buckets, length),
        'data.reading': reading,
        'data.window': window,
      }
    )
    if self._generated:
      path = short_texts.trained(self._variant, smoke=smoke, seed=seed)
      config.bert.path = str(path)
    problem = make_problem(config, progress=False)
    outcome = strategies.dense(Trainer(problem, config, None, progress=False))
    found = {
      split: 100 * outcome.evaluate(split)['accuracy']
      for split in ('validation', 'test')
    }
    batches = problem.train.for_evaluation()
    tokens = sum((batch['ids'] != problem.padding).sum() for batch in batches)
    return [
      {
        'reading': reading,
        'attention': attention,
        'length': length,
        'seed': seed,
        **found,
        'tokens': tokens,
        'seconds': sum(outcome.seconds.values()),
      }
    ]

  def summary(self, rows: Sequence[Row]) -> list[Row]:
    """A row a way, accuracies per cent (mean, deviation over the seeds)."""
    ways: dict[tuple, list[Row]] = {}
    for row in rows:
      way = (row['reading'], row['attention'], row['length'])
      ways.setdefault(way, []).append(row)
    return [
      {
        'reading': reading,
        'attention': attention,
        'length': length,
        'test': mean_and_deviation([row['test'] for row in same], 1),
        'tokens': round(np.mean([row['tokens'] for row in same])),
        'seconds': round(np.mean([row['seconds'] for row in same])),
      }
      for (reading, attention, length), same in ways.items()
    ]
