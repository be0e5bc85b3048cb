"""Losses of a model on rare and on frequent words."""

import jax
import numpy as np

from embedcomp.training.tasks import LANGUAGE_MODEL, MASKED_LM
from experiments.results import Outcome

_NUM = 10


def token_deciles(counts: np.ndarray) -> tuple[np.ndarray, list[int]]:
  """Divides words so that each tenth has a tenth of all tokens.

  Args:
    counts: [V] how often each word occurs, in any order.

  Returns:
    [V] integers in [0, 10), and the first frequency rank of each tenth.
  """
  order = np.argsort(-np.asarray(counts), kind='stable')
  falling = np.asarray(counts, np.float64)[order]
  before = np.cumsum(falling) - falling
  tenth = (_NUM * before / falling.sum()).astype(int).clip(0, _NUM - 1)
  starts = [int(np.searchsorted(tenth, d)) for d in range(_NUM)]
  by_word = np.empty_like(tenth)
  by_word[order] = tenth
  return by_word, starts


def losses(outcome: Outcome) -> list[float | None]:
  """The mean test loss by frequency.

  For a language model by the word to be predicted; for other tasks by
  documents, sorted by the mean log rank of their words: tenths of them, from
  those of frequent words to those of rare ones.

  Args:
    outcome: of a strategy.

  Returns:
    10 means, None where there is nothing.
  """
  problem = outcome.trainer.problem
  task = problem.task(outcome.embedder)
  guesses_words = task.kind in (LANGUAGE_MODEL, MASKED_LM)
  tenth_of_word, _ = token_deciles(problem.counts)
  by_count = np.argsort(-problem.counts, kind='stable')
  log_rank = np.empty(len(by_count))
  log_rank[by_count] = np.log(np.arange(1, len(by_count) + 1))

  losses_fn = jax.jit(task.losses)
  keys, values = [], []
  for batch in problem.splits['test'].for_evaluation():
    real = batch['weights'] > 0
    found = losses_fn(outcome.variables, batch)
    values.append(np.asarray(found)[real])
    if guesses_words:
      keys.append(tenth_of_word[batch['labels'][real]])
    else:
      is_word = batch['ids'] != problem.padding
      logs = np.where(is_word, log_rank[batch['ids']], 0)
      keys.append((logs.sum(1) / np.maximum(is_word.sum(1), 1))[real])
  keys, values = np.concatenate(keys), np.concatenate(values)
  if not guesses_words:
    order = np.argsort(np.argsort(keys, kind='stable'), kind='stable')
    keys = order * _NUM // len(order)
  return [
    float(values[keys == d].mean()) if (keys == d).any() else None
    for d in range(_NUM)
  ]
