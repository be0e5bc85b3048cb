"""Vectors of texts, by a model of the BERT family with its tokenizer."""

import dataclasses
import functools
import os
from collections.abc import Sequence

import flax.linen as nn
import jax
import numpy as np

from embedcomp._internal.progress import track
from embedcomp.data.batches.labelled import TokenBatches
from embedcomp.data.subword_tokenizer import SubwordTokenizer
from embedcomp.nn.embedding import to_variables
from embedcomp.types import Array, Params
from embedcomp.workflows.read_model import padded_by, read_model

_BATCH_SIZE = 32


@dataclasses.dataclass(frozen=True, eq=False)
class SentenceModel:
  """A function from texts to their vectors.

  Attributes:
    model: with the head 'sentence', as `from_pretrained` reads it.
    params: of the model.
    tokenizer: of the model.
    max_length: tokens that longer texts are cut to.
    progress: whether to show a progress bar for each list of texts.
    buckets: lengths to pad to, rising, besides the largest. Each one used is
      compiled, and many pay only where many texts are read.
  """

  model: nn.Module
  params: Params
  tokenizer: SubwordTokenizer
  max_length: int = 128
  progress: bool = False
  buckets: tuple[int, ...] = (16, 32, 64)

  @classmethod
  def load(
    cls,
    model_dir: str | os.PathLike[str],
    *,
    max_length: int = 128,
    progress: bool = False,
  ) -> 'SentenceModel':
    """Reads a model, whose vectors are the means of its hidden states.

    Args:
      model_dir: a directory that `from_pretrained` reads; a head is left out.
      max_length: tokens that longer texts are cut to.
      progress: whether to show a progress bar for each list of texts.

    Returns:
      The function.

    Raises:
      FileNotFoundError: if a file is missing.
      ValueError: if there is no such directory, or a file is damaged or not
        supported.
    """
    model, params, _ = read_model(model_dir, 'sentence')
    tokenizer = SubwordTokenizer.load(model_dir)
    model = padded_by(model, tokenizer)
    return cls(model, params, tokenizer, max_length, progress)

  def with_table(self, table: Array) -> 'SentenceModel':
    """Returns the same model with other word vectors, [V, D] float.

    Args:
      table: in the place of a dense table; nothing is compiled anew.
    """
    params = {**self.params, 'embedder': {'embedding': table}}
    return dataclasses.replace(self, params=params)

  def batches(self, texts: Sequence[str]) -> TokenBatches:
    """Texts as the model reads them, those of about one length together.

    Args:
      texts: one or more.

    Returns:
      Batches whose labels are the positions of the texts.

    Raises:
      ValueError: if there are no texts, or the tokenizer is of another model.
    """
    config = self.model.config
    padding = self.tokenizer.pad_id
    if padding != config.pad_token_id:
      raise ValueError(
        f'padding must be {config.pad_token_id} as in the config, got '
        f'{padding} in the tokenizer.'
      )
    length = min(self.max_length, config.longest_input)
    return TokenBatches(
      self.tokenizer.encode(texts, max_length=length),
      np.arange(len(texts)),
      min(_BATCH_SIZE, 1 << (len(texts) - 1).bit_length()),
      padding=padding,
      buckets=[size for size in self.buckets if size < length] + [length],
    )

  def __call__(self, texts: Sequence[str]) -> np.ndarray:
    """Computes [N, D] float32 vectors of N texts.

    Args:
      texts: one or more.

    Returns:
      The vectors, of length one unless the model says otherwise.

    Raises:
      ValueError: as `batches`.
    """
    batches = self.batches(texts)
    variables = to_variables(self.params)
    vectors = np.empty((len(texts), self.model.config.hidden_size), np.float32)
    for batch in track(
      batches.for_evaluation(),
      'reading texts',
      enabled=self.progress,
      total=batches.num_batches,
    ):
      is_text = batch['weights'] > 0
      found = np.asarray(_vectors(self.model, variables, batch['ids']))
      vectors[batch['labels'][is_text]] = found[is_text]
    return vectors


@functools.partial(jax.jit, static_argnums=0)
def _vectors(model, variables, ids):
  return model.apply(variables, ids)
