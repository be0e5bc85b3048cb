"""Texts as words of their own vocabulary, and the models that read them."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
from ml_collections import ConfigDict

from embedcomp import data as data_lib
from embedcomp.nn import classifiers, language_models
from experiments.problems import parts as parts_lib
from experiments.problems.problem import Problem


def classification(
  config: ConfigDict, dataset: data_lib.TextDataset
) -> Problem:
  """A problem of labelled texts.

  Raises:
    ValueError: if the data have no labels, or the model is not known.
  """
  if not dataset.label_names:
    raise ValueError(
      f'{dataset.name} has no labels, which a classification needs; set '
      'data.label_field, or task to language_model.'
    )
  parts = parts_lib.labelled_parts(config, dataset)
  vocabulary = data_lib.Vocabulary.build(
    parts.train.texts, config.data.max_words, config.data.min_count
  )
  buckets = tuple(config.data.buckets)

  def make_batches(documents, batch_size, *, one_shape=False, **shards):
    return data_lib.ClassificationBatches(
      [vocabulary.encode(text, buckets[-1]) for text in documents.texts],
      documents.labels,
      batch_size,
      config.seed,
      buckets=buckets[-1:] if one_shape else buckets,
      **shards,
    )

  num_classes, model = len(dataset.label_names), config.model
  sizes = {'num_layers': model.num_layers, 'hidden_size': model.hidden_size}
  return Problem(
    kind=config.task,
    vocabulary=vocabulary,
    features=model.features,
    make_model=_model_maker(
      config,
      pooled=lambda embedder, **drops: classifiers.PooledClassifier(
        embedder, num_classes, pools=tuple(model.pools), **drops
      ),
      cnn=lambda embedder, **drops: classifiers.ConvolutionalClassifier(
        embedder, num_classes, **drops
      ),
      transformer=lambda embedder, **drops: classifiers.TransformerClassifier(
        embedder, num_classes, **sizes, **drops
      ),
    ),
    **parts.batched(config, make_batches),
  )


def language_modelling(
  config: ConfigDict, dataset: data_lib.TextDataset
) -> Problem:
  """A problem of plain text, with a model whose table is tied.

  Raises:
    ValueError: if the model is not known.
  """
  train, validation, test = parts_lib.plain_documents(config, dataset)

  def some(documents, most):
    return parts_lib.some_texts(
      documents.texts, most, lambda text: len(data_lib.tokenize(text))
    )

  vocabulary = data_lib.Vocabulary.build(
    some(train, config.data.max_tokens),
    config.data.max_words,
    config.data.min_count,
  )

  def stream(documents, most):
    encoded = [vocabulary.encode(text) for text in some(documents, most)]
    return data_lib.token_stream(encoded, separator=None)[:most]

  def make_batches(tokens, batch_size, *, one_shape=True, **shards):
    del one_shape  # they have no other
    return data_lib.LanguageModelBatches(
      tokens, batch_size, config.data.length, config.seed, **shards
    )

  tokens = stream(train, config.data.max_tokens)
  num_held_out = round(config.data.held_out * len(tokens))
  parts = parts_lib.Parts(
    tokens,
    tokens[:-num_held_out],
    tokens[-num_held_out:],
    stream(validation, config.data.max_eval_tokens),
    stream(test, config.data.max_eval_tokens),
  )
  model = config.model
  sizes = {'num_layers': model.num_layers, 'hidden_size': model.hidden_size}
  return Problem(
    kind=config.task,
    vocabulary=vocabulary,
    features=model.features,
    make_model=_model_maker(
      config,
      lstm=lambda embedder, **drops: language_models.RecurrentLanguageModel(
        embedder, **sizes, **drops
      ),
      transformer=lambda embedder, **drops: (
        language_models.TransformerLanguageModel(embedder, **sizes, **drops)
      ),
    ),
    word_params=(('head', 'bias'),),
    **parts.batched(config, make_batches),
  )


def _model_maker(
  config: ConfigDict, **models: Callable[..., nn.Module]
) -> Callable[[nn.Module], nn.Module]:
  """Puts the model that a config names around an embedder."""
  if config.model.name not in models:
    raise ValueError(
      f'model.name must be one of {sorted(models)} for {config.task}, '
      f'got {config.model.name!r}.'
    )
  drops: dict[str, Any] = {
    'dropout': config.model.dropout,
    'word_dropout': config.model.word_dropout,
  }
  make = models[config.model.name]
  return lambda embedder: make(embedder, **drops)
