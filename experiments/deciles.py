"""What a model loses on rare and on frequent words."""

import jax
import numpy as np
import optax

from embedcomp.training.tasks import LANGUAGE_MODEL
from experiments.stages import Stages

_NUM = 10


def token_deciles(counts: np.ndarray) -> tuple[np.ndarray, list[int]]:
  """Divides words so that each tenth has a tenth of all tokens.

  Args:
    counts: [V] how often each word occurs, most frequent first.

  Returns:
    [V] integers in [0, 10), and the first rank of each tenth.
  """
  counts = np.asarray(counts, np.float64)
  before = np.cumsum(counts) - counts
  tenth = (_NUM * before / counts.sum()).astype(int).clip(0, _NUM - 1)
  starts = [int(np.searchsorted(tenth, d)) for d in range(_NUM)]
  return tenth, starts


def losses(stages: Stages, embedder, variables) -> list[float | None]:
  """The mean test loss by frequency.

  For a language model by the word to be predicted; for a classification by
  documents, sorted by the mean log rank of their words: tenths of documents,
  from those of frequent words to those of rare ones.

  Args:
    stages: of the experiment.
    embedder: of the model.
    variables: of the model.

  Returns:
    10 mean cross-entropies, None where there is nothing.
  """
  task = stages.problem.task(embedder)
  tenth_of_word, _ = token_deciles(stages.problem.counts)

  @jax.jit
  def cross_entropy(variables, ids, labels):
    logits = task.model.apply(variables, ids)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)

  keys, values = [], []
  for batch in stages.problem.splits['test'].for_evaluation():
    real = batch['weights'] > 0
    found = cross_entropy(variables, batch['ids'], batch['labels'])
    values.append(np.asarray(found)[real])
    if task.kind == LANGUAGE_MODEL:
      keys.append(tenth_of_word[batch['labels'][real]])
    else:
      is_word = batch['ids'] > 0
      logs = np.where(is_word, np.log(np.maximum(batch['ids'], 1)), 0)
      keys.append((logs.sum(1) / np.maximum(is_word.sum(1), 1))[real])
  keys, values = np.concatenate(keys), np.concatenate(values)
  if task.kind != LANGUAGE_MODEL:
    order = np.argsort(np.argsort(keys, kind='stable'), kind='stable')
    keys = order * _NUM // len(order)
  return [
    float(values[keys == d].mean()) if (keys == d).any() else None
    for d in range(_NUM)
  ]
