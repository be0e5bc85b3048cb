"""Texts as word pieces of a BERT, and the heads that read them.

Pieces are sorted by how often they are expected to occur, in the table as in
the tokenizer, so that groups need no order map and none is stored.
"""

import dataclasses
import functools
import warnings
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

import embedcomp
from embedcomp import data as data_lib
from embedcomp.compression import frequency
from embedcomp.compression.post_training import CONTEXTUAL_METHODS
from embedcomp.distillation import PROJECTION
from embedcomp.nn import to_params, to_variables
from embedcomp.nn.bert.config import BertConfig
from embedcomp.nn.bert.encoder import is_lower
from embedcomp.nn.bert.windowed import WindowClassifier
from embedcomp.table.scheme import Scheme
from embedcomp.training import tasks
from experiments.problems import attentions, long_inputs, teachers, tiny_bert
from experiments.problems import parts as parts_lib
from experiments.problems.problem import Problem, Variables

# By kind of task: the head that solves it.
_HEADS = {
  tasks.CLASSIFICATION: 'classification',
  tasks.DISTILLATION: 'sentence',
  tasks.REGRESSION: 'classification',
  tasks.SIMILARITY: 'sentence',
  tasks.MASKED_LM: 'masked_lm',
}
# Models that need no path: fetched with pip, and made of random weights.
_MINILM_L6, _TINY = 'minilm_l6', 'tiny'
_TINY_LENGTH = 128  # positions of the latter, if the config does not say


@dataclasses.dataclass(frozen=True, eq=False)
class WordPieces:
  """The pieces of a tokenizer and how often they occur.

  Attributes:
    tokenizer: gives V ids.
    counts: [V] in the training data.
    expected_counts: [V] in other text.
  """

  tokenizer: data_lib.SubwordTokenizer
  counts: np.ndarray
  expected_counts: np.ndarray

  @classmethod
  def counted(
    cls, tokenizer: data_lib.SubwordTokenizer, counts: np.ndarray
  ) -> 'WordPieces':
    """The pieces of a tokenizer, ids as it came, and [V] their counts."""
    expected = frequency.expected_counts(counts, tokens=tokenizer.tokens)
    return cls(tokenizer, counts, expected)

  def __len__(self) -> int:
    return self.tokenizer.vocab_size

  def reordered(self, order: np.ndarray) -> 'WordPieces':
    """The same pieces, [V] `order` the old id of each new one."""
    return WordPieces(
      self.tokenizer.reordered(order),
      self.counts[order],
      self.expected_counts[order],
    )


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class BertProblem(Problem):
  """A problem whose model is a BERT, written as a directory of its own.

  Attributes:
    path: of the directory that the model came from.
    labels: names of the classes; None where there are none.
  """

  path: Path
  labels: tuple[str, ...] | None = None

  @property
  def importance_by_frequency(self) -> np.ndarray:
    return frequency.contextual_importance(self.vocabulary.expected_counts)

  @property
  def methods(self) -> tuple[str, ...]:
    return CONTEXTUAL_METHODS

  def write(
    self, folder: Path, embedder: nn.Module, variables: Variables
  ) -> None:
    """Writes model and tokenizer to `folder / 'model'`.

    One that reads windows is written as the classifier of a single window.
    """
    params = to_params(variables)
    params.pop(PROJECTION, None)  # to the width of a teacher
    model = self.make_model(embedder)
    if isinstance(model, WindowClassifier):
      model = model.of_one_window()
    path = folder / 'model'
    embedcomp.save_pretrained(path, model, params, labels=self.labels)
    self.vocabulary.tokenizer.save(path)


def word_pieces(
  config: ConfigDict, dataset: data_lib.TextDataset
) -> BertProblem:
  """A problem of a BERT.

  Raises:
    ValueError: if the data do not suit the task, or the model cannot be read.
  """
  if config.task not in _HEADS:
    raise ValueError(
      f'task of a BERT must be one of {sorted(_HEADS)}, got {config.task!r}.'
    )
  long_inputs.check(config)
  objective = teachers.objective(config)
  path = _folder(config, dataset)
  tokenizer = data_lib.SubwordTokenizer.load(path)
  dataset = long_inputs.long_enough(config, dataset, tokenizer)
  if config.task == tasks.MASKED_LM:
    batches, counts = _masked(config, dataset, tokenizer)
  else:
    batches, counts = _labelled(config, dataset, tokenizer)
  read = functools.partial(_read, config, len(dataset.label_names) or 1)
  model, params = read(path, config.bert)
  _check_agreement(config, model.config, tokenizer)
  if objective is not None:
    teacher = teachers.make_teacher(config, path, read, tokenizer, objective)
    batches, objective = teachers.with_teacher(
      config, batches, teacher, tokenizer
    )
    params = teachers.with_projection(params, model, teacher, config.seed)
  model, params = teachers.shallower(model, params, config)
  scheme = getattr(model.embedder, 'scheme', None)
  if scheme is None:
    model, params = _cut_to(len(tokenizer), model, params)
    pretrained = {'params': params}
  else:
    _check_kept(config, scheme, tokenizer)
    pretrained = _trainable(scheme, params)
  pieces = WordPieces.counted(tokenizer, counts)
  problem = BertProblem(
    kind=config.task,
    vocabulary=pieces,
    features=model.config.hidden_size,
    make_model=lambda embedder: model.clone(embedder=embedder, parent=None),
    num_fixed=tokenizer.num_fixed,
    padding=model.config.pad_token_id,
    word_params=(('bias',),) if config.task == tasks.MASKED_LM else (),
    pretrained=jax.device_get(pretrained),
    scheme=scheme,
    objective=objective,
    is_frozen=_is_frozen(config, model.config),
    path=path,
    labels=dataset.label_names if config.task == tasks.CLASSIFICATION else None,
    **batches,
  )
  if scheme is not None:
    return problem  # its words are in order
  order = frequency.rank_order_around(
    pieces.expected_counts, tokenizer.fixed_ids
  )
  return problem.reordered(order)


def _folder(config: ConfigDict, dataset: data_lib.TextDataset) -> Path:
  """The directory of a model, the user's own or one that everyone has."""
  path = config.bert.path
  if path == _TINY:
    return tiny_bert.folder(
      dataset.splits['train'].texts,
      hidden_size=config.model.features,
      num_layers=config.model.num_layers,
      max_length=config.bert.max_length or _TINY_LENGTH,
      whole_words=dataset.name in data_lib.GENERATED,
    )
  if path == _MINILM_L6:
    return data_lib.minilm_l6()
  if not Path(path).is_dir():
    raise ValueError(
      f'bert.path must be a directory with config.json, {_MINILM_L6!r} or '
      f'{_TINY!r}, got {path!r}.'
    )
  return Path(path)


def _read(config: ConfigDict, num_labels: int, path: Path, bert: ConfigDict):
  """The model with the head of the task, which may be new, and its params."""
  head, more = _HEADS[config.task], {}
  if head == 'classification':
    more['num_labels'] = num_labels
  with warnings.catch_warnings():
    # It is going to be trained.
    warnings.filterwarnings('ignore', message='.* start from noise')
    model, params = embedcomp.from_pretrained(
      path,
      head=head,
      dtype=jnp.dtype(bert.dtype),
      attention_fn=attentions.from_config(bert),
      remat=bert.remat,
      max_length=bert.max_length,
      positions=bert.positions,
      seed=config.seed,
      **more,
    )
  if model.weights == 'int8':  # floats are trained, rounded as they are read
    _, params = embedcomp.dequantize_encoder(model, params)
  if config.data.reading == 'windows':
    model = WindowClassifier.around(
      model, config.data.window, config.model.window_pool
    )
  return model, params


def _is_frozen(config: ConfigDict, sizes: BertConfig):
  """As `Problem.is_frozen`."""
  number, most = config.bert.frozen_layers, sizes.num_hidden_layers
  if type(number) is not int or not -1 <= number <= most:
    raise ValueError(
      f'bert.frozen_layers must be at most the {most} layers of '
      f'{config.bert.path}, or -1 for all of them, got {number}.'
    )
  if number == 0:
    return None
  num_layers = most if number == -1 else number
  return functools.partial(is_lower, num_layers=num_layers)


def _check_agreement(config, sizes: BertConfig, tokenizer) -> None:
  """Refuses texts and a tokenizer that are not for the model."""
  is_masked = config.task == tasks.MASKED_LM
  field = 'data.length' if is_masked else 'data.buckets'
  length = config.data.length if is_masked else config.data.buckets[-1]
  if config.data.reading == 'windows' and length > config.data.window:
    field, length = 'data.window', config.data.window
  if length > sizes.longest_input:
    raise ValueError(
      f'{field} must not go beyond the {sizes.longest_input} tokens that '
      f'{config.bert.path} has positions for, got {length}: set '
      'bert.max_length.'
    )
  if tokenizer.pad_id != sizes.pad_token_id:
    raise ValueError(
      f'{config.bert.path} is not valid: pad_token_id is '
      f'{sizes.pad_token_id}, but {tokenizer.pad_id} in the tokenizer.'
    )


def _labelled(config, dataset, tokenizer):
  """Batches of texts, or pairs of texts, and how often pieces occur."""
  is_class = config.task == tasks.CLASSIFICATION
  if config.task == tasks.DISTILLATION:
    dataset = long_inputs.unlabelled(config, dataset)
  elif is_class != bool(dataset.label_names):
    raise ValueError(
      f'{config.task} needs {"names of classes" if is_class else "numbers"} as '
      f'labels; see data.label_field. {dataset.name} has others, or none.'
    )
  apart = config.task == tasks.SIMILARITY
  parts = parts_lib.labelled_parts(config, dataset)
  if apart and parts.train.pairs is None:
    raise ValueError(
      f'similarity needs pairs of texts: set data.pair_field, got '
      f'{config.data.pair_field!r}.'
    )
  buckets, seed = tuple(config.data.buckets), config.seed

  def make_batches(documents, batch_size, *, one_shape=False, **shards):
    texts, pairs, labels = documents.texts, documents.pairs, documents.labels
    if labels is None:
      labels = np.zeros(len(texts), np.int32)
    more = {}
    if apart:
      more['pairs'] = tokenizer.encode(pairs, max_length=buckets[-1])
      pairs = None
    if config.task in (tasks.REGRESSION, tasks.SIMILARITY):
      labels = labels / config.data.label_scale

    def batches(encoded):
      return data_lib.TokenBatches(
        encoded,
        labels,
        batch_size,
        seed,
        padding=tokenizer.pad_id,
        buckets=buckets[-1:] if one_shape else buckets,
        **more,
        **shards,
      )

    return long_inputs.batches(config, tokenizer, texts, pairs, batches)

  texts = [*parts.train.texts, *(parts.train.pairs or ())]
  counts = tokenizer.count(texts, special=True)
  return parts.batched(config, make_batches), counts


def _masked(config, dataset, tokenizer):
  """Batches of plain text with masked pieces, and how often pieces occur."""
  train, validation, test = parts_lib.plain_documents(config, dataset)

  def stream(documents, most):
    texts = parts_lib.some_texts(
      documents.texts, most, lambda text: len(text.split())
    )
    pieces = list(tokenizer.subwords(texts))
    return data_lib.token_stream(pieces, separator=tokenizer.sep_id)

  def make_batches(tokens, batch_size, *, one_shape=True, **shards):
    del one_shape  # they have no other
    return data_lib.MaskedLMBatches(
      tokens, tokenizer, batch_size, config.data.length, config.seed, **shards
    )

  tokens = stream(train, config.data.max_tokens)
  num_held_out = max(1, round(config.data.held_out * len(tokens)))
  parts = parts_lib.Parts(
    tokens,
    tokens[:-num_held_out],
    tokens[-num_held_out:],
    stream(validation, config.data.max_eval_tokens),
    stream(test, config.data.max_eval_tokens),
  )
  counts = np.bincount(tokens, minlength=len(tokenizer))
  counts[tokenizer.cls_id] += len(tokens) // config.data.length
  return parts.batched(config, make_batches), counts


def _check_kept(config: ConfigDict, scheme: Scheme, tokenizer) -> None:
  """Refuses to compress a table anew that is compressed already."""
  if config.method.name != 'kept' or config.compare_dense:
    raise ValueError(
      f'{config.bert.path} has a compressed table: set method.name=kept and '
      f'compare_dense=False, got {config.method.name!r}, '
      f'{config.compare_dense}.'
    )
  if scheme.vocab_size != len(tokenizer):
    raise ValueError(
      f'{config.bert.path} is not valid: a table of {scheme.vocab_size} words '
      f'and a tokenizer of {len(tokenizer)}.'
    )


def _trainable(scheme: Scheme, params) -> Variables:
  """Variables of a model around a compressed table, to be trained."""
  table = embedcomp.dequantize_params(scheme, params['embedder'])
  return to_variables({**params, 'embedder': table})


def _cut_to(vocab_size: int, model: nn.Module, params):
  """The model without rows that the tokenizer has no pieces for."""
  rows = model.config.vocab_size
  if vocab_size > rows:
    raise ValueError(
      f'the tokenizer has {vocab_size} pieces and the table {rows} rows: they '
      'are not of one model.'
    )
  if vocab_size == rows:
    return model, params
  config = dataclasses.replace(model.config, vocab_size=vocab_size)
  table = params['embedder']['embedding'][:vocab_size]
  params = {**params, 'embedder': {'embedding': table}}
  if 'bias' in params:
    params['bias'] = params['bias'][:vocab_size]
  return model.clone(config=config, embedder=None, parent=None), params
