"""The metric of word vectors in which a sentence encoder notices errors."""

from collections.abc import Iterable, Iterator

import numpy as np

from embedcomp._internal.checks import check_int
from embedcomp.data.batches.interface import Batch
from embedcomp.nn.embedding import to_variables
from embedcomp.search.embeddings import EmbedModule
from embedcomp.search.input_metric import measure_metric
from embedcomp.types import Array
from embedcomp.workflows.sentence_model import SentenceModel

# Texts of which those that are read are drawn.
_NUM_DRAWN = 4096


class TextSample:
  """Some texts of many, all as likely, kept while others read them.

  Attributes:
    texts: those that were kept, at most 4,096.

  Example:
    >>> sample = TextSample(seed=0)
    >>> sum(len(text) for text in sample.keep_from(['a', 'bc']))
    3
    >>> sample.texts
    ['a', 'bc']
  """

  def __init__(self, seed: int) -> None:
    """Starts with no texts.

    Args:
      seed: of which are kept.
    """
    self.texts: list[str] = []
    self._rng = np.random.default_rng(seed)
    self._num_read = 0

  def keep_from(self, texts: Iterable[str]) -> Iterator[str]:
    """Hands texts through and keeps some; what came before counts alike.

    Args:
      texts: any number, read once.

    Yields:
      All texts.
    """
    for text in texts:
      if len(self.texts) < _NUM_DRAWN:
        self.texts.append(text)
      else:
        place = int(self._rng.integers(self._num_read + 1))
        if place < _NUM_DRAWN:
          self.texts[place] = text
      self._num_read += 1
      yield text


def sentence_metric(
  model: SentenceModel,
  texts: Iterable[str],
  *,
  num_tokens: int = 17_000,
  compressed: Array | None = None,
  seed: int = 0,
  progress: bool = True,
) -> np.ndarray:
  """Measures the metric of a model's word vectors on plain text.

  See `embedcomp.measure_metric`; the outputs are the vectors of the texts.

  Args:
    model: whose table is dense; `SentenceModel.load` reads it from a directory,
      whatever head it has. Short texts take less time: 64 is a good
      `max_length`.
    texts: any number, read once; some are drawn by the seed.
    num_tokens: tokens that are enough: no text more is read.
    compressed: [V, D] float, what the table has become, if it is known.
    seed: of what is random.
    progress: whether to show a progress bar.

  Returns:
    [D, D] float64, symmetric, of trace D.

  Raises:
    ValueError: for a table that is not dense, no texts, and as
      `measure_metric`.

  Example:
    metric = sentence_metric(SentenceModel.load('bert', max_length=64), lines)
  """
  num_tokens = check_int('num_tokens', num_tokens, 1)
  seed = check_int('seed', seed, 0)
  params = dict(model.params)
  table = params.pop('embedder').get('embedding')
  if table is None:
    raise ValueError(
      'a metric is measured at a dense table, got a compressed one: take the '
      'model that it was made from.'
    )
  batches = model.batches(_drawn(model, texts, num_tokens, seed))

  def output_fn(variables, embed, batch):
    encoder = model.model.clone(embedder=EmbedModule(embed), parent=None)
    vectors = encoder.apply(variables, batch['ids'])
    return vectors * batch['weights'][:, None]

  return measure_metric(
    output_fn,
    to_variables(params),
    np.asarray(table),
    map(_without_fillers, batches.for_evaluation()),
    compressed=compressed,
    seed=seed,
    progress=progress,
  )


def _without_fillers(batch: Batch) -> Batch:
  """Rows that only fill up a batch become copies of a text, of weight 0.

  The mean of no token has no direction, and no gradient.
  """
  weights, ids = batch['weights'], batch['ids']
  text = ids[int(weights.argmax())]
  is_text = weights[:, None] > 0
  return {'ids': np.where(is_text, ids, text), 'weights': weights}


def _drawn(
  model: SentenceModel, texts: Iterable[str], num_tokens: int, seed: int
) -> list[str]:
  """Texts in random order, up to the one that makes the tokens enough."""
  sample = TextSample(seed)
  kept = sample.texts
  for _ in sample.keep_from(texts):
    pass
  if not kept:
    raise ValueError('a metric needs texts to be measured on, got none.')
  order = np.random.default_rng(seed).permutation(len(kept))
  length = min(model.max_length, model.model.config.longest_input)
  encoded = model.tokenizer.encode(
    [kept[place] for place in order], max_length=length
  )
  ends = np.cumsum([len(text.ids) for text in encoded])
  num_texts = int(np.searchsorted(ends, num_tokens)) + 1
  return [kept[place] for place in order[:num_texts]]
