"""Models of the BERT family in directories: Hugging Face's, and packed ones.

A packed directory is Hugging Face's but for its words, which are in a packed
file; docs/FILE_FORMAT.md describes it.
"""

import dataclasses
import os
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn

from embedcomp._internal.checks import check_int
from embedcomp.io import files, packed
from embedcomp.io.bert import (
  attention_json,
  config_json,
  hub,
  int8_tensors,
  safetensors_files,
)
from embedcomp.io.bert import params as bert_params
from embedcomp.methods.forms import Stored
from embedcomp.nn.bert import int8
from embedcomp.nn.bert.config import BertConfig
from embedcomp.nn.bert.encoder import AttentionFns, Bert, per_layer
from embedcomp.nn.bert.heads import (
  BertClassifier,
  BertMaskedLM,
  BertTokenClassifier,
  SentenceEncoder,
)
from embedcomp.nn.bert.positions import HOWS, extend_positions
from embedcomp.nn.embedding import GroupedEmbed
from embedcomp.table import read, resident_form
from embedcomp.table.scheme import Scheme
from embedcomp.types import Params

CONFIG_FILE = 'config.json'
TOKENIZER_FILES = (
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'vocab.txt',
  'vocab.json',
  'merges.txt',
  'sentencepiece.bpe.model',
)
_MODELS = {
  None: Bert,
  'classification': BertClassifier,
  'token_classification': BertTokenClassifier,
  'masked_lm': BertMaskedLM,
  'sentence': SentenceEncoder,
}
_LABELLED = ('classification', 'token_classification')


def from_pretrained(
  path: str | os.PathLike,
  *,
  head: str | None = None,
  num_labels: int | None = None,
  dtype: Any = None,
  attention_fn: AttentionFns | None = None,
  remat: bool = False,
  max_length: int | None = None,
  positions: str = 'interpolated',
  resident: str | None = None,
  seed: int = 0,
) -> tuple[nn.Module, Params]:
  """Reads a model of the BERT family: BERT, RoBERTa, XLM-R or DistilBERT.

  The params are for `model.apply({'params': params}, ids)`. To train them, set
  apart what is stored in few bits, of which no gradient can be taken:

    trainable, stored = embedcomp.split_params(params)
    model.apply({'params': trainable, 'stored': stored}, ids)

  and differentiate by `trainable`. Where a packed table or int8 weights are to
  learn as well, `embedcomp.dequantize_params` and `dequantize_encoder` make
  floats of them.

  Args:
    path: a directory of Hugging Face's or of `save_pretrained`, or the name of
      a model on its hub, which `huggingface_hub` then fetches.
    head: None for `Bert` itself, or 'classification', 'token_classification',
      'masked_lm' or 'sentence' (see `nn.bert.heads`). What the checkpoint lacks
      of it is drawn from noise, and a warning says so.
    num_labels: of a classifier; as the config says if not given. Another number
      than the checkpoint's makes a new last layer.
    dtype: of the arithmetic, such as `jnp.bfloat16`; params are float32.
    attention_fn: see `Bert`; what the directory says if not given, which is
      dense attention mostly. What one learns starts from zero where the
      checkpoint has none of it.
    remat: see `Bert`.
    max_length: tokens to have positions for. A table that has fewer is made
      longer, and `config.max_position_embeddings` follows.
    positions: how it is made so, 'interpolated' or 'tiled'; see
      `embedcomp.nn.extend_positions`.
    resident: storage of the rows that packed words are decoded to, once, to be
      read faster; see `embedcomp.resident`. They stay packed if not given.
    seed: of the noise.

  Returns:
    The model, and params for `model.apply({'params': params}, input_ids,
    attention_mask, token_type_ids)`. Words of a packed directory are in
    `params['embedder']`; they and weights of int8 are `embedcomp.Stored`.

  Raises:
    FileNotFoundError: if there is no such directory, or a file is missing.
    OSError: if a model cannot be fetched.
    ValueError: for what is damaged, contradictory or not supported.
  """
  _check_head(head, num_labels)
  _check_positions(max_length, positions)
  wanted = [CONFIG_FILE, '*.safetensors', safetensors_files.INDEX_FILE]
  folder = hub.find_folder(path, [*wanted, *TOKENIZER_FILES])
  fields, config, is_packed, saved_fn, weights = _read_config(folder, head)
  is_new_attention = attention_fn is not None
  if attention_fn is None:
    attention_fn = saved_fn
  per_layer(attention_fn)  # refuses an empty tuple
  labels = 0
  if head in _LABELLED:
    labels = num_labels or config_json.num_labels(fields)
  embedder, words = None, None
  if is_packed:
    file = folder / config_json.EMBEDDING_FILE
    embedder, words = _read_words(file, config, resident)
  elif resident is not None:
    raise ValueError(
      f'resident is for packed words, got {resident!r} for dense ones.'
    )
  layout = bert_params.Layout(
    config=config,
    head=head,
    num_labels=labels,
    is_packed=is_packed,
    attention_fn=attention_fn,
    weights=weights,
  )
  with safetensors_files.open_tensors(folder, config.model_type) as tensors:
    try:
      params, lacking, unknown = bert_params.from_tensors(
        layout,
        tensors,
        is_relabelled=num_labels is not None,
        is_new_attention=is_new_attention,
        seed=seed,
      )
    except ValueError as error:
      raise ValueError(f'{folder} is not valid: {error}') from None
  _warn(folder, lacking, unknown)
  if max_length is not None and max_length > config.longest_input:
    encoder = params if head is None else params['bert']
    config = _lengthen(config, encoder, max_length, positions)
  if words is not None:
    params['embedder'] = words
  own: dict[str, Any] = {'num_labels': labels} if labels else {}
  if head is None:
    own['add_pooler'] = 'pooler' in params
  return _MODELS[head](
    config,
    embedder,
    attention_fn,
    dtype=dtype,
    remat=remat,
    weights=weights,
    **own,
  ), params


def save_pretrained(
  path: str | os.PathLike,
  model: nn.Module,
  params: Params,
  *,
  dense: bool = False,
  labels: Sequence[str] | None = None,
  tokenizer_from: str | os.PathLike | None = None,
) -> None:
  """Writes a model of the BERT family.

  Words in a dense table are written as transformers reads them, compressed ones
  in a packed file beside the rest. An attention that is not dense is named in
  `config.json`, and with it goes what it has learned; transformers knows of
  neither, nor of the weights of an int8 model. Files are replaced when all are
  written.

  Args:
    path: of the directory; made if there is none.
    model: `Bert` or one of `nn.bert.heads`.
    params: of the model, trainable and stored ones together; what is
      compressed may be either.
    dense: whether to write compressed words as a dense table, too, and int8
      weights as floats.
    labels: names of a classifier's labels, in their order.
    tokenizer_from: a directory whose tokenizer is copied.

  Raises:
    OSError: if a file cannot be written.
    TypeError: for a model that is none of these.
    ValueError: for params that contradict the model, or that a file of the
      family has no place for; nothing is written.
  """
  head, config = _find_head(model), model.config
  scheme = _find_scheme(model, params)
  num_labels = getattr(model, 'num_labels', 0)
  labels = config_json.check_labels(labels, num_labels)
  is_packed = scheme is not None and not dense
  others = {name: tree for name, tree in params.items() if name != 'embedder'}
  weights = 'float32' if dense else model.weights
  if model.weights == 'int8':
    convert = int8.dequantize_encoder if dense else int8.quantize_encoder
    others = convert(model, others)[1]
  words = params['embedder']
  if scheme is None:
    others['embedder'] = words
  elif dense:
    others['embedder'] = {'embedding': read.reconstruct(scheme, words)}
  text = config_json.to_text(
    config,
    head,
    labels=labels,
    packed=is_packed,
    own=_attention_fields(model.attention_fn) | int8_tensors.to_fields(weights),
  )
  kind = 'pooler' if head is None and model.add_pooler else head
  layout = bert_params.Layout(
    config=config,
    head=kind,
    num_labels=num_labels,
    is_packed=is_packed,
    attention_fn=model.attention_fn,
    weights=weights,
  )
  tensors = bert_params.to_tensors(layout, others)
  copies = _find_tokenizer(tokenizer_from)
  with files.write_together(path, last=CONFIG_FILE) as new:
    safetensors_files.write_tensors(
      new / safetensors_files.WEIGHTS_FILE, tensors
    )
    if is_packed and scheme is not None:
      packed.save(new / config_json.EMBEDDING_FILE, scheme, words)
    for source in copies:
      shutil.copyfile(source, new / source.name)
    (new / CONFIG_FILE).write_text(text)
  if not is_packed:  # one that the new config does not speak of
    (Path(path) / config_json.EMBEDDING_FILE).unlink(missing_ok=True)


def _check_head(head: str | None, num_labels: int | None) -> None:
  if head not in _MODELS:
    raise ValueError(f'head must be one of {list(_MODELS)}, got {head!r}.')
  if num_labels is None:
    return
  if head not in _LABELLED:
    raise ValueError(
      f'num_labels is for heads {list(_LABELLED)}, got head {head!r}.'
    )
  config_json.num_labels({'num_labels': num_labels})


def _check_positions(max_length: int | None, positions: str) -> None:
  if positions not in HOWS:
    raise ValueError(f'positions must be one of {HOWS}, got {positions!r}.')
  if max_length is None:
    return
  check_int('max_length', max_length, 1)


def _lengthen(
  config: BertConfig, encoder: Params, max_length: int, positions: str
) -> BertConfig:
  """Makes the table of positions longer, in place; returns its config."""
  first = config.first_position
  table = encoder['embeddings']['position']
  rows = extend_positions(
    int8.dequantize(table['embedding']),
    first + max_length,
    positions,
    num_fixed=first + 1,
  )
  is_stored = isinstance(table['embedding'], Stored)
  table['embedding'] = (
    int8.quantize(rows, (0,), 'position') if is_stored else rows
  )
  return dataclasses.replace(config, max_position_embeddings=first + max_length)


def _read_config(
  folder: Path, head: str | None
) -> tuple[config_json.Fields, BertConfig, bool, AttentionFns, str]:
  """Fields, sizes, whether words are packed, the attention, the weights."""
  path = folder / CONFIG_FILE
  with files.open_regular(path) as file:
    text = file.read()
  try:
    fields = config_json.parse_fields(text)
    config = config_json.to_config(fields)
    if head == 'masked_lm' and fields.get('tie_word_embeddings', True) is False:
      raise ValueError('tie_word_embeddings must be true, got False.')
    is_packed = config_json.is_packed(fields)
    attention_fn = attention_json.from_fields(fields)
    weights = int8_tensors.from_fields(fields)
    return fields, config, is_packed, attention_fn, weights
  except ValueError as error:
    raise ValueError(f'{path} is not valid: {error}') from None


def _read_words(
  path: Path, config: BertConfig, storage: str | None
) -> tuple[GroupedEmbed, Params]:
  scheme, words = packed.load(path)
  found = (scheme.vocab_size, scheme.features)
  if found != (config.vocab_size, config.hidden_size):
    raise ValueError(
      f'{path} must have the {config.vocab_size} words and '
      f'{config.hidden_size} features of {CONFIG_FILE}, got {found}.'
    )
  if storage is not None:
    scheme, words = resident_form.resident(scheme, words, storage)
  return GroupedEmbed(scheme), words


def _warn(folder: Path, lacking: list[str], unknown: list[str]) -> None:
  if lacking:
    warnings.warn(
      f'{folder} lacks {lacking}, which start from noise: train the model.',
      stacklevel=3,
    )
  if unknown:
    warnings.warn(
      f'{folder} has tensors of unknown use, which were not read: {unknown}.',
      stacklevel=3,
    )


def _find_head(model: nn.Module) -> str | None:
  for head, kind in _MODELS.items():
    if type(model) is kind:
      return head
  kinds = [kind.__name__ for kind in _MODELS.values()]
  raise TypeError(f'model must be one of {kinds}, got {type(model)}.')


def _find_scheme(model: nn.Module, params: Params) -> Scheme | None:
  """The scheme of a model's words; None if they are a dense table."""
  if 'embedder' not in params:
    raise ValueError(
      f"params must have 'embedder', got {sorted(params)}; put trainable and "
      'stored params together with embedcomp.merge_params.'
    )
  embedder, config = model.embedder, model.config
  if type(embedder) is nn.Embed:
    return None
  if type(embedder) is not GroupedEmbed:
    raise TypeError(
      f'embedder must be nn.Embed or GroupedEmbed, got {type(embedder)}.'
    )
  scheme = embedder.scheme
  found = (scheme.vocab_size, scheme.features)
  if found != (config.vocab_size, config.hidden_size):
    raise ValueError(
      f'the scheme must have {config.vocab_size} words and '
      f'{config.hidden_size} features, got {found}.'
    )
  if embedder.padding_id is not None:
    raise ValueError(
      f'padding_id cannot be saved, got {embedder.padding_id}; use None.'
    )
  return scheme


def _attention_fields(attention_fn: AttentionFns) -> config_json.Fields:
  try:
    return attention_json.to_fields(attention_fn)
  except ValueError as error:
    warnings.warn(
      f'{error} The model reads with dense attention again, unless '
      'from_pretrained is given another one.',
      stacklevel=3,
    )
    return {}


def _find_tokenizer(folder: str | os.PathLike | None) -> list[Path]:
  if folder is None:
    return []
  paths = [Path(folder, name) for name in TOKENIZER_FILES]
  found = [path for path in paths if path.is_file()]
  if not found:
    raise ValueError(f'{folder} has no tokenizer: none of {TOKENIZER_FILES}.')
  return found
