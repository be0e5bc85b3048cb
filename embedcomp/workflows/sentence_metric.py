"""The metric of word vectors in which a sentence encoder notices errors."""

import numpy as np

from embedcomp._internal.checks import check_int, check_numbers
from embedcomp.nn.embedding import to_variables
from embedcomp.search.embeddings import EmbedModule
from embedcomp.search.input_metric import measure_metric
from embedcomp.types import Array
from embedcomp.workflows.sentence_model import SentenceModel

_LENGTH = 32  # of a sequence, special tokens among them
_BATCH_SIZE = 32


def sentence_metric(
  model: SentenceModel,
  counts: Array,
  *,
  num_tokens: int = 17_000,
  compressed: Array | None = None,
  seed: int = 0,
  progress: bool = True,
) -> np.ndarray:
  """Measures the metric of a model's word vectors, without any text.

  See `embedcomp.measure_metric`; the outputs are the vectors of sequences of
  words that are drawn one by one.

  Args:
    model: whose table is dense; `SentenceModel.load` reads it from a directory,
      whatever head it has.
    counts: [V] non-negative, how often words are read, on any scale, see
      `frequency.expected_counts`. Those of special tokens are left out.
    num_tokens: to read.
    compressed: [V, D] float, what the table has become, if it is known.
    seed: of what is random.
    progress: whether to show a progress bar.

  Returns:
    [D, D] float64, symmetric, of trace D.

  Raises:
    ValueError: for a table that is not dense, counts that do not suit it, and
      as `measure_metric`.

  Example:
    model = SentenceModel.load('bert')
    counts = frequency.expected_counts(tokens=model.tokenizer.tokens)
    metric = sentence_metric(model, counts)
  """
  num_tokens = check_int('num_tokens', num_tokens, 1)
  rng = np.random.default_rng(check_int('seed', seed, 0))
  params = dict(model.params)
  table = params.pop('embedder').get('embedding')
  if table is None:
    raise ValueError(
      'a metric is measured at a dense table, got a compressed one: take the '
      'model that it was made from.'
    )
  chances = _chances(model, counts, len(table))
  size = -(-num_tokens // (_BATCH_SIZE * _LENGTH))
  batches = [_draw(model, chances, rng) for _ in range(size)]

  def output_fn(variables, embed, ids):
    encoder = model.model.clone(embedder=EmbedModule(embed), parent=None)
    return encoder.apply(variables, ids)

  return measure_metric(
    output_fn,
    to_variables(params),
    np.asarray(table),
    batches,
    compressed=compressed,
    seed=seed,
    progress=progress,
  )


def _chances(model: SentenceModel, counts: Array, num_rows: int) -> np.ndarray:
  """[V] float64 chances of words to be drawn."""
  counts = np.array(check_numbers('counts', '[V]', counts), np.float64)
  if counts.shape != (num_rows,):
    raise ValueError(
      f'counts must be [{num_rows}], one a row of the table, got shape '
      f'{list(counts.shape)}.'
    )
  if not np.isfinite(counts).all() or (counts < 0).any():
    raise ValueError('counts must be finite and not negative.')
  is_word = np.zeros(num_rows, bool)
  is_word[model.tokenizer.word_ids] = True
  # As padding, a word would be hidden.
  is_word[model.model.config.pad_token_id] = False
  counts[~is_word] = 0
  if not counts.any():
    raise ValueError('counts must be positive for some word, got none.')
  return counts / counts.sum()


def _draw(
  model: SentenceModel, chances: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
  """[B, L] int32 ids of words, inside the tokens that stand around a text."""
  length = min(_LENGTH, model.model.config.longest_input)
  around = model.tokenizer.encode([''])[0].ids
  words = rng.choice(
    len(chances), (_BATCH_SIZE, length - len(around)), p=chances
  )
  sides = np.tile(around, (_BATCH_SIZE, 1))
  ids = np.concatenate([sides[:, :1], words, sides[:, 1:]], axis=1)
  return ids.astype(np.int32)
