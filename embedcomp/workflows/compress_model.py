"""Compressing the table of word embeddings in a directory of a model."""

import os
import sys
import tempfile
from collections.abc import Iterable, Sequence

import numpy as np

from embedcomp import methods as methods_lib
from embedcomp._internal.checks import check_int
from embedcomp.compression import frequency
from embedcomp.compression.budget import parse_budget
from embedcomp.compression.post_training import DEFAULT_METHODS
from embedcomp.compression.post_training import compress as compress_table
from embedcomp.compression.water_filling import PLANNED
from embedcomp.data.subword_tokenizer import SubwordTokenizer
from embedcomp.io import files
from embedcomp.io.bert.pretrained import save_pretrained
from embedcomp.nn.bert import int8
from embedcomp.nn.embedding import GroupedEmbed
from embedcomp.types import Array, Params
from embedcomp.workflows.model_info import ModelInfo, measured
from embedcomp.workflows.read_model import LabelledModel, padded_by, read_model
from embedcomp.workflows.sentence_metric import sentence_metric
from embedcomp.workflows.sentence_model import SentenceModel


def compress_model(
  model_dir: str | os.PathLike[str],
  output_dir: str | os.PathLike[str],
  *,
  budget: float | int | str,
  texts: Iterable[str] | None = None,
  wide_texts: Iterable[str] | None = None,
  methods: Sequence[str | methods_lib.Method] = DEFAULT_METHODS,
  head: str | None = None,
  weights: str | None = None,
  keep_ids: bool = False,
  seed: int = 0,
  progress: bool = True,
) -> ModelInfo:
  """Compresses the word embeddings of a model of the BERT family.

  Nothing is trained. Tokens of the tokenizer are renumbered, the most frequent
  first, so that an order of ids is stored only where it is worth its bytes;
  special tokens keep their ids.

  How often words are going to be read is judged by the texts, if there are
  any, and by the tokenizer, see `frequency.expected_counts`: no text has to be
  like what the model will read, and none has to be given. Which errors of word
  vectors the model notices is measured, see `sentence_metric`.

  Args:
    model_dir: a directory with `config.json`, `model.safetensors` and a
      tokenizer, whose table is dense.
    output_dir: a directory that is new or empty.
    budget: largest size of the table: a share of the float32 table (float in
      (0, 1)), a number of bytes (int), or a factor (`'40x'`). Never exceeded.
    texts: like what the model is going to read, None for none.
    wide_texts: of other kinds, the more mixed the better; None for none.
    methods: as for `embedcomp.compress`.
    head: the head to keep, or 'encoder' for none; None keeps the one that the
      config names.
    weights: 'int8' or 'float32', the type of all other weights; None leaves
      them as they are.
    keep_ids: whether the tokenizer stays as it is, and an order is stored.
    seed: of whatever is random; equal seeds give equal results.
    progress: whether to show a progress bar.

  Returns:
    Kind and sizes of the model that was written.

  Raises:
    FileNotFoundError: if a file is missing.
    OSError: if a file cannot be written.
    ValueError: for arguments that do not suit, for a model that is compressed
      already, and for files that are damaged or not supported; nothing is
      written.

  Example:
    embedcomp.compress_model('bert', 'small', budget='40x')
  """
  _check_options(budget, methods, weights, seed)
  _check_texts(texts, 'texts')
  _check_texts(wide_texts, 'wide_texts')
  files.check_new_folder(output_dir, 'output_dir')
  model, params, labels = read_model(model_dir, head)
  if isinstance(model.embedder, GroupedEmbed):
    raise ValueError(
      f'{model_dir} is compressed already: start from the dense model.'
    )
  tokenizer = SubwordTokenizer.load(model_dir)
  model = padded_by(model, tokenizer)
  parse_budget(budget, np.asarray(params['embedder']['embedding']).nbytes)
  expected = _expect(tokenizer, texts, wide_texts, model.config.vocab_size)
  counts = expected
  if not keep_ids:
    tokenizer, params, counts = _in_order(tokenizer, params, expected)
  metric = None
  if any(method in PLANNED for method in methods):
    sentences = SentenceModel.load(model_dir)
    metric = sentence_metric(sentences, expected, seed=seed, progress=progress)
  scheme, table = compress_table(
    params['embedder']['embedding'],
    importance=frequency.contextual_importance(counts),
    metric=metric,
    budget=budget,
    methods=methods,
    seed=seed,
    progress=progress,
  )
  if weights == 'int8':
    model, params = int8.quantize_encoder(model, params)
  elif weights == 'float32':
    model, params = int8.dequantize_encoder(model, params)
  model = model.clone(embedder=GroupedEmbed(scheme), parent=None)
  params = {**params, 'embedder': table}
  with tempfile.TemporaryDirectory() as folder:
    if not keep_ids:
      tokenizer.save(folder)
    save_pretrained(
      output_dir,
      model,
      params,
      labels=labels,
      tokenizer_from=model_dir if keep_ids else folder,
    )
  return measured(LabelledModel(model, params, labels))


def _check_options(
  budget: float | int | str,
  methods: Sequence[str | methods_lib.Method],
  weights: str | None,
  seed: int,
) -> None:
  """Refuses what can be refused before any file is read."""
  parse_budget(budget, sys.maxsize)  # the table has not been read
  for method in methods:
    if isinstance(method, str):
      methods_lib.get(method)
  if weights is not None and weights not in int8.WEIGHTS:
    raise ValueError(
      f'weights must be None or one of {int8.WEIGHTS}, got {weights!r}.'
    )
  check_int('seed', seed, 0)


def _check_texts(texts: Iterable[str] | None, name: str) -> None:
  """Refuses a text, or the path of one, in place of several."""
  if isinstance(texts, (str, bytes, os.PathLike)):
    raise ValueError(f'{name} must be several str, got {texts!r}.')


def _expect(
  tokenizer: SubwordTokenizer,
  texts: Iterable[str] | None,
  wide_texts: Iterable[str] | None,
  num_rows: int,
) -> np.ndarray:
  """[V] expected counts of the rows of a table, which may be more than tokens.

  Args:
    tokenizer: of the model.
    texts: as for `compress_model`.
    wide_texts: as for `compress_model`.
    num_rows: V.
  """
  num_tokens = len(tokenizer)
  if num_tokens > num_rows:
    raise ValueError(
      f'the tokenizer has {num_tokens} tokens and the table {num_rows} '
      'rows: they are not of one model.'
    )

  def count(given: Iterable[str] | None, name: str) -> np.ndarray | None:
    if given is None:
      return None
    counts = tokenizer.count(given, special=True)
    if not counts[tokenizer.word_ids].any():
      raise ValueError(
        f'{name} must hold some word that the tokenizer knows, got none.'
      )
    return np.pad(counts, (0, num_rows - num_tokens))

  return frequency.expected_counts(
    count(texts, 'texts'),
    wide_counts=count(wide_texts, 'wide_texts'),
    tokens=(*tokenizer.tokens, *[''] * (num_rows - num_tokens)),
  )


def _in_order(
  tokenizer: SubwordTokenizer, params: Params, counts: np.ndarray
) -> tuple[SubwordTokenizer, Params, np.ndarray]:
  """Renumbers tokens by falling frequency, around those that are fixed."""
  num_tokens = len(tokenizer)
  # Rows without a token stay where the tokenizer has none.
  fixed = [*tokenizer.fixed_ids, *range(num_tokens, len(counts))]
  order = frequency.rank_order_around(counts, np.array(fixed))
  try:
    tokenizer = tokenizer.reordered(order[:num_tokens])
  except ValueError as error:
    raise ValueError(f'{error} Or keep the ids (keep_ids).') from None
  table: Array = params['embedder']['embedding']
  params = {**params, 'embedder': {'embedding': np.asarray(table)[order]}}
  if 'bias' in params:  # of a masked language model, one for each word
    params['bias'] = params['bias'][order]
  # Fixed ids count for as much as what comes after them, so that ids are in
  # order and none is stored.
  falling = np.maximum.accumulate(counts[order][::-1])[::-1]
  return tokenizer, params, falling
