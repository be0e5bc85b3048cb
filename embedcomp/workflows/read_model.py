"""Reading a model with the head that its directory names."""

import dataclasses
import os
import warnings
from pathlib import Path
from typing import NamedTuple

import flax.linen as nn

from embedcomp.data.subword_tokenizer import SubwordTokenizer
from embedcomp.io.bert import config_json
from embedcomp.io.bert.pretrained import CONFIG_FILE, from_pretrained
from embedcomp.types import Params

ENCODER = 'encoder'  # the model without a head


class LabelledModel(NamedTuple):
  """A model with the names of its labels.

  Attributes:
    model: as `from_pretrained` reads it.
    params: of the model.
    labels: names of a classifier's labels; None without one.
  """

  model: nn.Module
  params: Params
  labels: list[str] | None


def read_model(
  model_dir: str | os.PathLike[str], head: str | None = None
) -> LabelledModel:
  """Reads a model, by default with the head that its config names.

  Args:
    model_dir: a directory that `from_pretrained` reads.
    head: as for `from_pretrained`, or 'encoder' for none.

  Returns:
    The model, its params, and names of labels.

  Raises:
    FileNotFoundError: if a file is missing.
    ValueError: if there is no such directory, if a file is damaged or not
      supported, or if the head has not been trained.
  """
  folder = Path(model_dir)
  if not folder.is_dir():
    raise ValueError(f'model_dir must be a directory, got {model_dir}.')
  with (folder / CONFIG_FILE).open('rb') as file:
    fields = config_json.parse_fields(file.read())
  if head is None:
    head = config_json.find_head(fields)
  elif head == ENCODER:
    head = None
  with warnings.catch_warnings():
    warnings.filterwarnings('error', message='.* start from noise')
    try:
      model, params = from_pretrained(folder, head=head)
    except UserWarning as warning:
      raise ValueError(str(warning)) from None
  has_labels = hasattr(model, 'num_labels')
  labels = config_json.label_names(fields) if has_labels else None
  return LabelledModel(model, params, labels)


def padded_by(model: nn.Module, tokenizer: SubwordTokenizer) -> nn.Module:
  """Returns a model that takes for padding what its tokenizer does.

  Configs of multilingual BERTs name `<s>` instead, which would hide the first
  token of every text.

  Args:
    model: as `read_model` gives it.
    tokenizer: of the model.

  Raises:
    ValueError: if the model counts positions from another padding on.
  """
  config, padding = model.config, tokenizer.pad_id
  if padding == config.pad_token_id:
    return model
  if config.counts_positions or padding >= config.vocab_size:
    raise ValueError(
      f'padding must be {config.pad_token_id} as in the config, got '
      f'{padding} in the tokenizer.'
    )
  config = dataclasses.replace(config, pad_token_id=padding)
  return model.clone(config=config, parent=None)
