"""Measuring a model of the BERT family on labelled texts."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import numpy as np

from embedcomp._internal.progress import track
from embedcomp.data import Documents, SubwordTokenizer, TokenBatches
from embedcomp.nn.bert.config import BertConfig
from embedcomp.nn.embedding import to_variables
from embedcomp.types import Params

_BATCH_SIZE = 64
_BUCKETS = (16, 32, 64)  # lengths to pad to, besides the largest


def evaluate(
  kind: str,
  model: nn.Module,
  params: Params,
  tokenizer: SubwordTokenizer,
  documents: Documents,
  *,
  max_length: int = 128,
  progress: bool = True,
) -> dict[str, float]:
  """Loss and metric of a model.

  Args:
    kind: 'classification', 'regression' or 'similarity'; see `training.tasks`.
    model: with the head that the kind needs, as `from_pretrained` reads it.
    params: of the model, trainable and stored ones together.
    tokenizer: of the model.
    documents: with labels, and with pairs for a similarity.
    max_length: tokens that longer texts are cut to.
    progress: whether to show progress.

  Returns:
    See `Task.summarise`.

  Raises:
    ImportError: without what training needs.
    ValueError: if model, tokenizer and documents do not fit.
  """
  try:
    from embedcomp.training import make_evaluator, tasks
  except ImportError as error:
    raise ImportError(
      f'measuring needs {error.name}: pip install "embedcomp[launch]".'
    ) from None
  is_apart = kind == tasks.SIMILARITY
  batches = _batches(model.config, tokenizer, documents, max_length, is_apart)
  each = track(
    batches.for_evaluation(),
    'measuring',
    enabled=progress,
    total=batches.num_batches,
  )
  return make_evaluator(tasks.Task(kind, model))(to_variables(params), each)


def joined(parts: Sequence[Documents]) -> Documents:
  """The documents of several parts, which all have labels or all have none.

  Args:
    parts: of one data set.

  Returns:
    The documents in the order of the parts.
  """
  texts = tuple(text for part in parts for text in part.texts)
  labels = pairs = None
  if parts[0].labels is not None:
    labels = np.concatenate([part.labels for part in parts])
  if parts[0].pairs is not None:
    pairs = tuple(pair for part in parts for pair in part.pairs)
  return Documents(texts, labels, pairs)


def renumbered(
  labels: np.ndarray, names: Sequence[str], own: Sequence[str]
) -> np.ndarray:
  """Labels of data by the numbers that a model has for their names.

  Args:
    labels: [N] int32 positions in `names`, negative where a label is unseen.
    names: of the data's labels, in upper or lower case.
    own: names of the model's; LABEL_0, LABEL_1, ... stand for any.

  Returns:
    [N] int32 positions in `own`.

  Raises:
    ValueError: for a label that the model does not have.

  Example:
    >>> renumbered(np.array([0, 1, -1]), ['bad', 'good'], ['GOOD', 'BAD'])
    array([ 1,  0, -1], dtype=int32)
  """
  numbers = {name.casefold(): number for number, name in enumerate(own)}
  if all(name.casefold() in numbers for name in names):
    new = np.array([numbers[name.casefold()] for name in names], np.int32)
    return np.where(labels < 0, np.int32(-1), new[labels])
  has_names = list(own) != [f'LABEL_{number}' for number in range(len(own))]
  if has_names or len(names) > len(own):
    raise ValueError(
      f'labels must be among those of the model, {", ".join(own)}, '
      f'got {", ".join(names)}.'
    )
  return labels


def _batches(
  config: BertConfig,
  tokenizer: SubwordTokenizer,
  documents: Documents,
  max_length: int,
  is_apart: bool,
) -> TokenBatches:
  if tokenizer.pad_id != config.pad_token_id:
    raise ValueError(
      f'padding must be {config.pad_token_id} as in the config, got '
      f'{tokenizer.pad_id} in the tokenizer.'
    )
  length, pairs = min(max_length, config.longest_input), documents.pairs
  if is_apart and pairs is None:
    raise ValueError('a similarity needs second texts: name their field.')
  together = None if is_apart else pairs
  num_devices = jax.device_count()
  return TokenBatches(
    tokenizer.encode(documents.texts, together, max_length=length),
    documents.labels,
    max(_BATCH_SIZE // num_devices, 1) * num_devices,
    pairs=tokenizer.encode(pairs, max_length=length) if is_apart else None,
    padding=tokenizer.pad_id,
    buckets=[size for size in _BUCKETS if size < length] + [length],
  )
