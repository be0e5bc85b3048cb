"""Config files (`config.json`) of Hugging Face's BERT, RoBERTa and DistilBERT.

Fields that ask for what the models of this package cannot compute are refused
by name and value; a field that changes no numbers is passed over.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from embedcomp._internal.strict_json import unique_fields
from embedcomp.nn.bert.config import BertConfig

Fields = dict[str, Any]

# The section of a packed directory's config (see docs/FILE_FORMAT.md).
SECTION = 'embedcomp'
FORMAT_VERSION = 1
EMBEDDING_FILE = 'embedding.safetensors'
MAX_LABELS = 2**20

# Our field by DistilBERT's; the others share BERT's names.
_DISTILBERT_NAMES = {
  'dim': 'hidden_size',
  'n_layers': 'num_hidden_layers',
  'n_heads': 'num_attention_heads',
  'hidden_dim': 'intermediate_size',
  'activation': 'hidden_act',
  'dropout': 'hidden_dropout_prob',
  'attention_dropout': 'attention_probs_dropout_prob',
  'seq_classif_dropout': 'classifier_dropout',
}
# Sizes that DistilBERT's configs have no fields for.
_DISTILBERT_FIXED = {'type_vocab_size': 0, 'layer_norm_eps': 1e-12}
# Fields that every config has; all others have a default.
_REQUIRED = (
  'vocab_size',
  'hidden_size',
  'num_hidden_layers',
  'num_attention_heads',
  'intermediate_size',
  'max_position_embeddings',
)
_OPTIONAL = (
  'hidden_act',
  'type_vocab_size',
  'pad_token_id',
  'layer_norm_eps',
  'hidden_dropout_prob',
  'attention_probs_dropout_prob',
  'classifier_dropout',
  'initializer_range',
)
# The only value of a field that is supported, which is also its default.
_FIXED = {
  'position_embedding_type': 'absolute',
  'is_decoder': False,
  'is_encoder_decoder': False,
  'add_cross_attention': False,
}
# Names of classes: their ends by head, and their beginnings by family.
_ARCHITECTURES = {
  None: 'Model',
  'sentence': 'Model',
  'classification': 'ForSequenceClassification',
  'token_classification': 'ForTokenClassification',
  'masked_lm': 'ForMaskedLM',
}
HEADS = ('classification', 'token_classification', 'masked_lm')
_CLASSES = {
  'bert': 'Bert',
  'roberta': 'Roberta',
  'xlm-roberta': 'XLMRoberta',
  'distilbert': 'DistilBert',
}


def parse_fields(text: str | bytes) -> Fields:
  """Reads the fields of a `config.json`, or of another JSON object.

  Args:
    text: content of the file.

  Returns:
    The fields.

  Raises:
    ValueError: unless it is one JSON object that names no field twice.
  """
  try:
    fields = json.loads(text, object_pairs_hook=unique_fields)
  except (ValueError, RecursionError) as error:
    raise ValueError(f'it must be JSON text: {error}.') from None
  if not isinstance(fields, dict):
    raise ValueError(f'it must be a JSON object, got {type(fields).__name__}.')
  return fields


def to_config(fields: Mapping[str, Any]) -> BertConfig:
  """Reads the sizes of a model.

  Args:
    fields: of a `config.json`.

  Returns:
    The sizes.

  Raises:
    ValueError: for what is not supported, missing or malformed.
  """
  family = fields.get('model_type')
  if not isinstance(family, str) or family not in _CLASSES:
    raise ValueError(
      f'model_type must be one of {sorted(_CLASSES)}, got {family!r}.'
    )
  _check_supported(fields)
  known: dict[str, Any] = {'model_type': family}
  if family == 'distilbert':
    known |= _DISTILBERT_FIXED
    fields = {'classifier_dropout': 0.2} | _rename(fields)
  elif family != 'bert':
    known['pad_token_id'] = 1
  if missing := [name for name in _REQUIRED if name not in fields]:
    raise ValueError(f'fields {missing} are missing.')
  if (
    fields.get('embedding_size', fields['hidden_size'])
    != (fields['hidden_size'])
  ):
    raise ValueError(
      f'embedding_size must be hidden_size {fields["hidden_size"]!r}, '
      f'got {fields["embedding_size"]!r}.'
    )
  known |= {
    name: fields[name] for name in _REQUIRED + _OPTIONAL if name in fields
  }
  return BertConfig(**known)


def _check_supported(fields: Mapping[str, Any]) -> None:
  for name, only in _FIXED.items():
    value = fields.get(name, only)
    # `position_embedding_type` is null where it was never asked about.
    if value is not None and (value != only or type(value) is not type(only)):
      raise ValueError(f'{name} must be {only!r}, got {value!r}.')
  if fields.get('pruned_heads'):
    raise ValueError(
      f'pruned_heads must be empty, got {fields["pruned_heads"]!r}.'
    )


def _rename(fields: Mapping[str, Any]) -> Fields:
  """Renames DistilBERT's fields to BERT's, but for those it has fixed."""
  renamed = {k: v for k, v in fields.items() if k not in _DISTILBERT_FIXED}
  for theirs, ours in _DISTILBERT_NAMES.items():
    if theirs in fields:
      renamed[ours] = fields[theirs]
  return renamed


def find_head(fields: Mapping[str, Any]) -> str | None:
  """Finds the head that a model was saved with; None for a bare encoder.

  Args:
    fields: of a `config.json`.

  Returns:
    One of `HEADS`, or None.

  Example:
    >>> find_head({'architectures': ['BertForMaskedLM']})
    'masked_lm'
  """
  names = fields.get('architectures')
  for name in names if isinstance(names, list) else []:
    for head in HEADS:
      if isinstance(name, str) and name.endswith(_ARCHITECTURES[head]):
        return head
  return None


def check_labels(
  labels: Sequence[str] | None, num_labels: int
) -> list[str] | None:
  """Names of labels, made up as transformers does if not given."""
  if labels is None:
    return [f'LABEL_{i}' for i in range(num_labels)] or None
  labels = list(labels)
  if len(set(labels)) != num_labels or len(labels) != num_labels:
    raise ValueError(f'labels must be {num_labels} names, got {labels}.')
  return labels


def label_names(fields: Mapping[str, Any]) -> list[str]:
  """Reads the names of a classifier's labels; transformers' default if none.

  Args:
    fields: of a `config.json`.

  Returns:
    The names in the order of their numbers.

  Raises:
    ValueError: if they are malformed.

  Example:
    >>> label_names({'id2label': {'0': 'bad', '1': 'good'}})
    ['bad', 'good']
  """
  number = num_labels(fields)
  labels = fields.get('id2label')
  if not labels:
    return [f'LABEL_{i}' for i in range(number)]
  names = [labels.get(str(i)) for i in range(number)]
  if not all(isinstance(n, str) for n in names) or len(set(names)) != number:
    raise ValueError(
      f'id2label must number {number} different names from 0 on, got {labels}.'
    )
  return names


def num_labels(fields: Mapping[str, Any]) -> int:
  """Reads the number of labels of a classifier; 2 if no field has it.

  Args:
    fields: of a `config.json`.

  Returns:
    The number.

  Raises:
    ValueError: if it is malformed.
  """
  labels = fields.get('id2label')
  if labels is not None and not isinstance(labels, dict):
    raise ValueError(f'id2label must be an object, got {labels!r}.')
  number = len(labels) if labels else fields.get('num_labels', 2)
  if type(number) is not int or not 1 <= number <= MAX_LABELS:
    raise ValueError(
      f'num_labels must be in [1, {MAX_LABELS}], got {number!r}.'
    )
  return number


def is_packed(fields: Mapping[str, Any]) -> bool:
  """Returns whether the words are in a packed file.

  Args:
    fields: of a `config.json`.

  Returns:
    True if they are.

  Raises:
    ValueError: for a section of another version, or a malformed one.
  """
  if SECTION not in fields:
    return False
  section = fields[SECTION]
  expected = {'format_version', 'embedding'}
  if not isinstance(section, dict) or set(section) != expected:
    raise ValueError(f'{SECTION} must have fields {sorted(expected)}.')
  version = section['format_version']
  if type(version) is not int or version != FORMAT_VERSION:
    raise ValueError(
      f'this version reads format_version {FORMAT_VERSION}, got {version!r}.'
    )
  if section['embedding'] != EMBEDDING_FILE:
    raise ValueError(
      f'embedding must be {EMBEDDING_FILE!r}, got {section["embedding"]!r}.'
    )
  return True


def to_text(
  config: BertConfig,
  head: str | None,
  *,
  labels: Sequence[str] | None = None,
  packed: bool = False,
  own: Mapping[str, Any] | None = None,
) -> str:
  """Writes a `config.json` that transformers reads.

  Args:
    config: sizes.
    head: of the model, see `from_pretrained`.
    labels: names of the labels of a classifier.
    packed: whether the words are in a packed file.
    own: further fields, see `attention_json` and `int8_tensors`.

  Returns:
    JSON text.

  Raises:
    ValueError: if the family has no field for a size.
  """
  architecture = _CLASSES[config.model_type] + _ARCHITECTURES[head]
  fields: Fields = {
    'architectures': [architecture],
    'model_type': config.model_type,
    'tie_word_embeddings': True,
  }
  sizes = {name: getattr(config, name) for name in _REQUIRED + _OPTIONAL}
  if config.model_type == 'distilbert':
    fields |= _to_distilbert(sizes)
  else:
    fields |= sizes | {'position_embedding_type': 'absolute'}
  if labels is not None:
    fields['id2label'] = {str(i): name for i, name in enumerate(labels)}
    fields['label2id'] = {name: i for i, name in enumerate(labels)}
  if packed:
    fields[SECTION] = {
      'format_version': FORMAT_VERSION,
      'embedding': EMBEDDING_FILE,
    }
  fields |= own or {}
  return json.dumps(fields, indent=2, sort_keys=True, allow_nan=False) + '\n'


def _to_distilbert(sizes: Fields) -> Fields:
  for name, only in _DISTILBERT_FIXED.items():
    if (value := sizes.pop(name)) != only:
      raise ValueError(f'{name} of DistilBERT must be {only}, got {value}.')
  if sizes['classifier_dropout'] is None:
    sizes['classifier_dropout'] = sizes['hidden_dropout_prob']
  theirs = {ours: name for name, ours in _DISTILBERT_NAMES.items()}
  renamed = {theirs.get(name, name): value for name, value in sizes.items()}
  # Positions are read from the checkpoint, whatever they were made by.
  return renamed | {'sinusoidal_pos_embds': False}
