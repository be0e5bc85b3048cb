"""What is to be solved: data in batches, and models around an embedder."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from ml_collections import ConfigDict

from embedcomp import data as data_lib
from embedcomp.nn import classifiers, language_model
from embedcomp.search.sensitivity import Sensitivity
from embedcomp.training import tasks

# What errors of a word that seems not to matter weigh, of the mean.
_LEAST_SENSITIVITY = 1e-3


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
  """Data and models of one experiment.

  Attributes:
    kind: 'classification' or 'language_model'.
    vocabulary: V words with their counts in the training data.
    features: D.
    train: batches of all training data.
    weights: batches of what weights learn from during a search.
    held_out: batches of what sizes learn from then, of one shape.
    splits: batches to evaluate on: 'held_out', 'validation', 'test'.
    label_names: of the classes.
    model_config: which model, and its sizes.
    sensitivity: of the task to its words, once it has been measured.
  """

  kind: str
  vocabulary: data_lib.Vocabulary
  features: int
  train: Any
  weights: Any
  held_out: Any
  splits: dict[str, Any]
  label_names: tuple[str, ...]
  model_config: ConfigDict
  sensitivity: Sensitivity | None = None

  @property
  def vocab_size(self) -> int:
    """V."""
    return len(self.vocabulary)

  @property
  def counts(self) -> np.ndarray:
    """[V] how often each word occurs in the training data."""
    return self.vocabulary.counts

  @property
  def importance(self) -> np.ndarray:
    """[V] what an error of each word weighs.

    Its sensitivity if that has been measured, else counts + 1, made to fall.
    Words are in order already, but for padding and unknown words, which stay
    where they are, so that no order map is needed.
    """
    if self.sensitivity is not None:
      weights = self.sensitivity.weights
      # If no word matters, all matter alike.
      return weights + max(_LEAST_SENSITIVITY * weights.mean(), 1e-30)
    return np.maximum.accumulate(self.counts[::-1])[::-1] + 1.0

  def sorted_by(self, sensitivity: Sensitivity) -> tuple['Problem', np.ndarray]:
    """The same problem, words sorted by what the task needs of them.

    Costs no bytes, for the vocabulary is the experiment's own.

    Returns:
      The problem, and [V] the old id of each new one.
    """
    order = sensitivity.order(fixed=len(data_lib.SPECIAL_WORDS))
    new_ids = np.argsort(order)
    fields = ('ids',)
    if self.kind == tasks.LANGUAGE_MODEL:
      fields = ('ids', 'labels')

    def renumbered(batches):
      return data_lib.RenumberedBatches(batches, new_ids, fields)

    problem = dataclasses.replace(
      self,
      vocabulary=self.vocabulary.reordered(order),
      train=renumbered(self.train),
      weights=renumbered(self.weights),
      held_out=renumbered(self.held_out),
      splits={name: renumbered(b) for name, b in self.splits.items()},
      sensitivity=sensitivity.reordered(order),
    )
    return problem, order

  def renumbered_variables(
    self, variables: dict[str, Any], order: np.ndarray
  ) -> dict[str, Any]:
    """Variables of a dense model whose words take the ids of an order."""
    params = dict(variables['params'])
    table = np.asarray(params['embedder']['embedding'])
    params['embedder'] = {'embedding': table[order]}
    if self.kind == tasks.LANGUAGE_MODEL:
      bias = np.asarray(params['head']['bias'])[order]
      params['head'] = dict(params['head'], bias=bias)
    return {**variables, 'params': params}

  @property
  def dense_bytes(self) -> int:
    """Bytes of the table in float32."""
    return 4 * self.vocab_size * self.features

  def task(self, embedder: nn.Module) -> tasks.Task:
    """The model around an embedder, with its loss."""
    config = self.model_config
    drops = {'dropout': config.dropout, 'word_dropout': config.word_dropout}
    sizes = {'num_layers': config.num_layers, 'hidden_size': config.hidden_size}
    num_classes = len(self.label_names)
    models = {
      ('classification', 'pooled'): lambda: classifiers.PooledClassifier(
        embedder, num_classes, pools=tuple(config.pools), **drops
      ),
      ('classification', 'cnn'): lambda: classifiers.ConvolutionalClassifier(
        embedder, num_classes, **drops
      ),
      (
        'classification',
        'transformer',
      ): lambda: classifiers.TransformerClassifier(
        embedder, num_classes, **sizes, **drops
      ),
      (
        'language_model',
        'lstm',
      ): lambda: language_model.RecurrentLanguageModel(
        embedder, **sizes, **drops
      ),
      (
        'language_model',
        'transformer',
      ): lambda: language_model.TransformerLanguageModel(
        embedder, **sizes, **drops
      ),
    }
    if (self.kind, config.name) not in models:
      names = [name for kind, name in models if kind == self.kind]
      raise ValueError(
        f'model.name must be one of {names} for {self.kind}, '
        f'got {config.name!r}.'
      )
    return tasks.Task(self.kind, models[self.kind, config.name]())


def make_problem(config: ConfigDict, *, progress: bool = True) -> Problem:
  """Loads the data of a config and divides it.

  Args:
    config: see `configs/common.py`.
    progress: whether to show progress.

  Returns:
    The problem.

  Raises:
    ValueError: if the data or a setting is not usable; says why.
  """
  makers = {
    tasks.CLASSIFICATION: _classification,
    tasks.LANGUAGE_MODEL: _language_model,
  }
  if config.task not in makers:
    raise ValueError(
      f'task must be one of {sorted(makers)}, got {config.task!r}.'
    )
  dataset = data_lib.load(
    config.data.name,
    text_field=config.data.text_field,
    label_field=config.data.label_field,
    progress=progress,
  )
  return makers[config.task](config, dataset)


def _limited(documents, config: ConfigDict):
  most = config.data.max_documents
  if most is None or most >= len(documents):
    return documents
  order = np.random.default_rng(0).permutation(len(documents))
  return documents.take(np.sort(order[:most]))


def _classification(config: ConfigDict, dataset) -> Problem:
  if not dataset.label_names:
    raise ValueError(
      f'{dataset.name} has no labels, which a classification needs; set '
      'data.label_field, or task to language_model.'
    )
  train = _limited(dataset.splits['train'], config)
  if 'validation' in dataset.splits:
    validation = _limited(dataset.splits['validation'], config)
  else:  # the same for all seeds, so that their figures can be compared
    train, validation = data_lib.split_off(train, config.data.validation, 0)
  test = _limited(dataset.splits['test'], config)
  weights, held_out = data_lib.split_off(train, config.data.held_out, 0)
  vocabulary = data_lib.Vocabulary.build(
    train.texts, config.data.max_words, config.data.min_count
  )
  buckets = tuple(config.data.buckets)

  def batches(documents, batch_size, buckets=buckets, **shards):
    encoded = [vocabulary.encode(text, buckets[-1]) for text in documents.texts]
    return data_lib.ClassificationBatches(
      encoded,
      documents.labels,
      batch_size,
      config.seed,
      buckets=buckets,
      **shards,
    )

  size = config.optim.batch_size
  held_out_size = _held_out_size(size)
  return Problem(
    kind=config.task,
    vocabulary=vocabulary,
    features=config.model.features,
    train=batches(train, size, **_shards()),
    weights=batches(weights, size, **_shards()),
    held_out=batches(
      held_out if config.search.held_out else weights,
      held_out_size,
      buckets[-1:],
      **_shards(),
    ),
    splits={
      'held_out': batches(held_out, size),
      'validation': batches(validation, size),
      'test': batches(test, size),
    },
    label_names=dataset.label_names,
    model_config=config.model,
  )


def _language_model(config: ConfigDict, dataset) -> Problem:
  train = _limited(dataset.splits['train'], config)
  test = _limited(dataset.splits['test'], config)
  if 'validation' in dataset.splits:
    validation = _limited(dataset.splits['validation'], config)
  else:  # every other document, so that both halves are alike
    rows = np.arange(len(test))
    validation, test = test.take(rows[::2]), test.take(rows[1::2])
  texts = list(_some_words(train.texts, config.data.max_tokens))
  vocabulary = data_lib.Vocabulary.build(
    texts, config.data.max_words, config.data.min_count
  )

  def stream(texts, most):
    encoded = [vocabulary.encode(t) for t in _some_words(texts, most)]
    return data_lib.token_stream(encoded, separator=None)[:most]

  tokens = stream(train.texts, config.data.max_tokens)
  num_held_out = round(config.data.held_out * len(tokens))
  rest, held_out = tokens[:-num_held_out], tokens[-num_held_out:]

  def batches(tokens, batch_size, **shards):
    return data_lib.LanguageModelBatches(
      tokens, batch_size, config.data.length, config.seed, **shards
    )

  size, most = config.optim.batch_size, config.data.max_eval_tokens
  return Problem(
    kind=config.task,
    vocabulary=vocabulary,
    features=config.model.features,
    train=batches(tokens, size, **_shards()),
    weights=batches(rest, size, **_shards()),
    held_out=batches(
      held_out if config.search.held_out else rest,
      _held_out_size(size),
      **_shards(),
    ),
    splits={
      'held_out': batches(held_out, size),
      'validation': batches(stream(validation.texts, most), size),
      'test': batches(stream(test.texts, most), size),
    },
    label_names=(),
    model_config=config.model,
  )


def _some_words(texts, most: int | None) -> Iterator[str]:
  """Texts in a random but fixed order, until they hold so many words."""
  order = np.random.default_rng(0).permutation(len(texts))
  for row in order:
    if most is not None and most <= 0:
      return
    yield texts[row]
    if most is not None:
      most -= len(data_lib.tokenize(texts[row]))


def _held_out_size(batch_size: int) -> int:
  """Rows of a held-out batch: an eighth, and some for every device."""
  devices = jax.device_count()
  return max(batch_size // 8 // devices, 1) * devices


def _shards() -> dict[str, int]:
  return {
    'num_shards': jax.process_count(),
    'shard': jax.process_index(),
  }
