"""Names of the params of the BERT family in Hugging Face's checkpoints.

PyTorch's linear layers hold [out, in], ours [in, out]; queries, keys and values
are one array here and three tensors there.
"""

import dataclasses
import math
import re
from collections.abc import Iterator, Sequence

import numpy as np

from embedcomp.nn.bert.config import BertConfig

# Names of the encoder's tensors may start with this.
PREFIXES = {
  'bert': 'bert.',
  'roberta': 'roberta.',
  'xlm-roberta': 'roberta.',
  'distilbert': 'distilbert.',
}
# Those of the pooler, of heads and of learned attentions, and constants that
# older versions stored. A model that does not need them is loaded without.
_OPTIONAL = re.compile(
  r'(pooler|cls|lm_head|classifier|pre_classifier|qa_outputs'
  r'|vocab_(transform|layer_norm|projector))\..*'
  r'|embeddings\.(position_ids|token_type_ids)'
  r'|(encoder|transformer)\.layer\.\d+\.attention\.summaries\..*'
)
_OLD_NORM = re.compile(r'(.*(?:LayerNorm|_norm))\.(gamma|beta)')

_BERT_LAYER = {
  'query_key_value': (
    'attention.self.query',
    'attention.self.key',
    'attention.self.value',
  ),
  'attention_out': ('attention.output.dense',),
  'attention_norm': ('attention.output.LayerNorm',),
  'mlp_in': ('intermediate.dense',),
  'mlp_out': ('output.dense',),
  'mlp_norm': ('output.LayerNorm',),
}
_DISTILBERT_LAYER = {
  'query_key_value': ('attention.q_lin', 'attention.k_lin', 'attention.v_lin'),
  'attention_out': ('attention.out_lin',),
  'attention_norm': ('sa_layer_norm',),
  'mlp_in': ('ffn.lin1',),
  'mlp_out': ('ffn.lin2',),
  'mlp_norm': ('output_layer_norm',),
}
# The beginning of the names of layers, before their numbers.
_STACK = 'encoder.layer'
_STACKS = {'distilbert': 'transformer.layer'}
_ROBERTA_HEADS = {
  'pooler': 'pooler.dense',
  'classification': ('classifier.dense', 'classifier.out_proj'),
  'token_classification': 'classifier',
  'masked_lm': ('lm_head.dense', 'lm_head.layer_norm', 'lm_head.bias'),
  'decoder': 'lm_head.decoder',
}
_HEADS = {
  'bert': {
    'pooler': 'pooler.dense',
    'classification': ('pooler.dense', 'classifier'),
    'token_classification': 'classifier',
    'masked_lm': (
      'cls.predictions.transform.dense',
      'cls.predictions.transform.LayerNorm',
      'cls.predictions.bias',
    ),
    'decoder': 'cls.predictions.decoder',
  },
  'roberta': _ROBERTA_HEADS,
  'xlm-roberta': _ROBERTA_HEADS,
  'distilbert': {
    'classification': ('pre_classifier', 'classifier'),
    'token_classification': 'classifier',
    'masked_lm': (
      'vocab_transform',
      'vocab_layer_norm',
      'vocab_projector.bias',
    ),
    'decoder': 'vocab_projector',
  },
}
WORDS = 'embeddings.word_embeddings.weight'


@dataclasses.dataclass(frozen=True)
class Leaf:
  """Array of params, and the tensors of a checkpoint that hold it.

  Attributes:
    path: keys of the array in params.
    shape: of the array.
    names: of the tensors, without the encoder's prefix. Several are equal
      shares of the array.
    tensor_shape: of each tensor.
    in_encoder: True if a model with a head puts the prefix in front.
  """

  path: tuple[str, ...]
  shape: tuple[int, ...]
  names: tuple[str, ...]
  tensor_shape: tuple[int, ...]
  in_encoder: bool = True

  @property
  def is_kernel(self) -> bool:
    """True if the tensors are [out, in]."""
    return self.path[-1] == 'kernel'

  def from_tensors(self, tensors: Sequence[np.ndarray]) -> np.ndarray:
    """Joins the tensors that `names` lists, in their order, to the array."""
    parts = [array.T if self.is_kernel else array for array in tensors]
    joined = parts[0] if len(parts) == 1 else np.stack(parts, axis=-2)
    return np.ascontiguousarray(joined).reshape(self.shape)

  def to_tensors(self, array: np.ndarray) -> list[np.ndarray]:
    """Splits the array into the tensors that `from_tensors` joins."""
    shape = self.tensor_shape
    if not self.is_kernel:
      return list(array.reshape(-1, *shape))
    joined = array.reshape(shape[1], -1, shape[0])  # [in, share, out]
    return [np.ascontiguousarray(part.T) for part in joined.swapaxes(0, 1)]


def canonical(family: str, name: str) -> str:
  """Returns a tensor's name without prefix, with the present name of norms.

  Args:
    family: `model_type`.
    name: of the tensor in the file.

  Returns:
    The name as `Leaf` has it.

  Example:
    >>> canonical('bert', 'bert.embeddings.LayerNorm.gamma')
    'embeddings.LayerNorm.weight'
  """
  name = name.removeprefix(PREFIXES[family])
  if old := _OLD_NORM.fullmatch(name):
    return f'{old[1]}.{"weight" if old[2] == "gamma" else "bias"}'
  return name


def is_optional(name: str) -> bool:
  """Returns whether a model without heads may lack, or have, such a tensor.

  Args:
    name: canonical name of a tensor.

  Returns:
    True for those of heads, of learned attentions, and for constants.
  """
  return _OPTIONAL.fullmatch(name) is not None


def decoder(family: str) -> tuple[str, str, str]:
  """Returns the names of the table and the bias that score words.

  Args:
    family: `model_type`.

  Returns:
    Names of tensors that are the word embeddings and the bias again, and of the
    bias itself.
  """
  name = _HEADS[family]['decoder']
  return f'{name}.weight', f'{name}.bias', _HEADS[family]['masked_lm'][-1]


def encoder_leaves(
  config: BertConfig, inside: tuple[str, ...] = ()
) -> Iterator[Leaf]:
  """Lists the arrays of an encoder, but for its words.

  Args:
    config: sizes.
    inside: keys of the params that hold the encoder's.

  Yields:
    The leaves.
  """
  features = config.hidden_size
  path = (*inside, 'embeddings')
  tables = {'position': config.max_position_embeddings}
  if config.type_vocab_size:
    tables['token_type'] = config.type_vocab_size
  for name, rows in tables.items():
    shape = (rows, features)
    tensor = f'embeddings.{name}_embeddings.weight'
    yield Leaf((*path, name, 'embedding'), shape, (tensor,), shape)
  yield from _norm((*path, 'norm'), 'embeddings.LayerNorm', features)
  is_distilbert = config.model_type == 'distilbert'
  modules = _DISTILBERT_LAYER if is_distilbert else _BERT_LAYER
  stack = _STACKS.get(config.model_type, _STACK)
  heads = (config.num_attention_heads, features // config.num_attention_heads)
  wide = (config.intermediate_size,)
  shapes = {
    'query_key_value': ((features,), (3, *heads)),
    'attention_out': (heads, (features,)),
    'mlp_in': ((features,), wide),
    'mlp_out': (wide, (features,)),
  }
  for index in range(config.num_hidden_layers):
    for module, suffixes in modules.items():
      path = (*inside, f'layer_{index}', module)
      names = [f'{stack}.{index}.{suffix}' for suffix in suffixes]
      if module in shapes:
        yield from _linear(path, names, *shapes[module])
      else:
        yield from _norm(path, names[0], features)


def attention_leaf(
  config: BertConfig,
  inside: tuple[str, ...],
  layer: int,
  path: tuple[str, ...],
  shape: tuple[int, ...],
) -> Leaf:
  """Describes an array of a learned attention, under a name of our own.

  Args:
    config: sizes.
    inside: keys of the params that hold the encoder's.
    layer: its number.
    path: keys of the array in the params of the layer's `attention`.
    shape: of the array.

  Returns:
    The leaf.
  """
  stack = _STACKS.get(config.model_type, _STACK)
  name = '.'.join((stack, str(layer), 'attention.summaries', *path))
  whole = (*inside, f'layer_{layer}', 'attention', *path)
  return Leaf(whole, shape, (name,), shape)


def head_leaves(
  config: BertConfig, head: str | None, num_labels: int = 0
) -> Iterator[Leaf]:
  """Lists the arrays of a head.

  Args:
    config: sizes.
    head: see `from_pretrained`; 'pooler' for that of `Bert`.
    num_labels: of a classifier.

  Yields:
    The leaves.

  Raises:
    ValueError: if the family has no such head.
  """
  if head in (None, 'sentence'):
    return
  if head not in _HEADS[config.model_type]:
    raise ValueError(
      f'{config.model_type} has no {head}: use add_pooler=False.'
    )
  names = _HEADS[config.model_type][head]
  features, inside = (config.hidden_size,), {'in_encoder': False}
  if head == 'pooler':
    yield from _linear(('pooler',), [names], features, features)
  elif head == 'classification':
    of_bert = {'in_encoder': config.model_type == 'bert'}
    yield from _linear(('pooler',), names[:1], features, features, **of_bert)
    labels = (num_labels,)
    yield from _linear(('classifier',), names[1:], features, labels, **inside)
  elif head == 'token_classification':
    labels = (num_labels,)
    yield from _linear(('classifier',), [names], features, labels, **inside)
  else:
    transform, norm, bias = names
    yield from _linear(
      ('transform',), [transform], features, features, **inside
    )
    yield from _norm(('transform_norm',), norm, *features, **inside)
    shape = (config.vocab_size,)
    yield Leaf(('bias',), shape, (bias,), shape, **inside)


def _norm(path, name, features, **kwargs) -> Iterator[Leaf]:
  shape = (features,)
  for ours, theirs in (('scale', 'weight'), ('bias', 'bias')):
    yield Leaf((*path, ours), shape, (f'{name}.{theirs}',), shape, **kwargs)


def _linear(path, names, inputs, outputs, **kwargs) -> Iterator[Leaf]:
  out = math.prod(outputs) // len(names)
  yield Leaf(
    (*path, 'kernel'),
    (*inputs, *outputs),
    tuple(f'{name}.weight' for name in names),
    (out, math.prod(inputs)),
    **kwargs,
  )
  biases = tuple(f'{name}.bias' for name in names)
  yield Leaf((*path, 'bias'), outputs, biases, (out,), **kwargs)
