"""Params of a BERT from the tensors of a checkpoint, and back."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from embedcomp.attention.dot_product import dense_attention
from embedcomp.io.bert import int8_tensors, tensor_names
from embedcomp.io.bert.safetensors_files import Tensor
from embedcomp.io.bert.tensor_names import Leaf
from embedcomp.methods.forms import Stored
from embedcomp.nn.bert.config import BertConfig
from embedcomp.nn.bert.encoder import AttentionFns, per_layer
from embedcomp.nn.bert.layers import BertLayer
from embedcomp.types import Params

_MAX_NAMED = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
  """Everything that tells which arrays a model has.

  Attributes:
    config: sizes.
    head: see `from_pretrained`; 'pooler' for `Bert` with one, when written.
    num_labels: of a classifier.
    is_packed: whether the words are elsewhere.
    attention_fn: of the model, which may have params.
    weights: how kernels and small tables are stored, see `Bert`.
  """

  config: BertConfig
  head: str | None
  num_labels: int
  is_packed: bool
  attention_fn: AttentionFns = dense_attention
  weights: str = 'float32'


def from_tensors(
  layout: Layout,
  tensors: Mapping[str, Tensor],
  *,
  is_relabelled: bool,
  is_new_attention: bool,
  seed: int,
) -> tuple[Params, list[str], list[str]]:
  """Params of a model, but for the words of a packed one.

  Args:
    layout: of the model.
    tensors: of the checkpoint, by canonical name.
    is_relabelled: whether a last layer of another number of labels is passed
      over.
    is_new_attention: whether params of the attention start from zero where
      they are missing.
    seed: of the noise in place of what a head lacks.

  Returns:
    The params, names of tensors that the head lacks, and names in the file of
    tensors that belong to nothing known.

  Raises:
    ValueError: for tensors that are missing or contradict the config.
  """
  config, head, weights = layout.config, layout.head, layout.weights
  if config.num_hidden_layers > len(tensors):
    raise ValueError(
      f'num_hidden_layers must be that of the checkpoint, which has '
      f'{len(tensors)} tensors, got {config.num_hidden_layers}.'
    )
  tensors = _name_bias(config, tensors)
  wanted = _encoder_leaves(config, head, layout.is_packed)
  extra = _head_leaves(config, tensors, head, layout.num_labels)
  if head is None:
    wanted, extra = wanted + extra, []
  lacking = [
    leaf for leaf in extra if _is_lacking(leaf, tensors, is_relabelled)
  ]
  wanted += [leaf for leaf in extra if leaf not in lacking]
  learned = _attention_leaves(config, head, layout.attention_fn)
  new = [
    leaf for leaf in learned if is_new_attention and _is_absent(leaf, tensors)
  ]
  wanted += [leaf for leaf in learned if leaf not in new]
  _check(wanted, tensors, layout.is_packed, weights)
  arrays = {leaf.path: _read(leaf, tensors, weights) for leaf in wanted}
  if head == 'masked_lm':
    _check_tied(config, tensors, layout.is_packed)
  arrays |= _make_noise(config, lacking, seed)
  arrays |= {leaf.path: np.zeros(leaf.shape, np.float32) for leaf in new}
  params = jax.tree.map(jnp.asarray, arrays)
  used = {name for leaf in wanted + lacking for name in _names(leaf, weights)}
  used.add(tensor_names.WORDS)
  unknown = [
    tensor.name
    for name, tensor in tensors.items()
    if name not in used and not tensor_names.is_optional(name)
  ]
  absent = [name for leaf in lacking for name in leaf.names]
  return traverse_util.unflatten_dict(params), absent, unknown


def to_tensors(
  layout: Layout, params: Mapping[str, Any]
) -> dict[str, np.ndarray]:
  """The tensors of a checkpoint, under their names in a file.

  Args:
    layout: of the model.
    params: of the model, stored if its weights are int8; of the words only a
      dense table, if not packed.

  Returns:
    The tensors, float32 but for int8 weights. The words of a packed one are
    empty, so that a reader that does not know better stops.

  Raises:
    ValueError: for params that contradict the config, or are not finite.
  """
  config, head, weights = layout.config, layout.head, layout.weights
  head_leaves = tensor_names.head_leaves(config, head, layout.num_labels)
  has_prefix = head not in (None, 'pooler', 'sentence')
  base = None if head == 'pooler' else head
  leaves = [
    *_encoder_leaves(config, base, layout.is_packed),
    *_attention_leaves(config, base, layout.attention_fn),
    *head_leaves,
  ]
  found = traverse_util.flatten_dict(dict(params))
  paths = {leaf.path for leaf in leaves}
  if set(found) != paths:
    missing, unknown = paths - set(found), set(found) - paths
    raise ValueError(
      f'params must be those of the model: missing {_join(missing)}, '
      f'unknown {_join(unknown)}.'
    )
  prefix = tensor_names.PREFIXES[config.model_type] if has_prefix else ''
  tensors: dict[str, np.ndarray] = {}
  for leaf in leaves:
    start = prefix if leaf.in_encoder else ''
    made = _write(leaf, found[leaf.path], weights)
    tensors |= {start + name: tensor for name, tensor in made.items()}
  if layout.is_packed:
    empty = np.empty((0, config.hidden_size), np.float32)
    tensors[prefix + tensor_names.WORDS] = empty
  return tensors


def _encoder_leaves(config, head, is_packed: bool) -> list[Leaf]:
  leaves = list(tensor_names.encoder_leaves(config, _inside(head)))
  if not is_packed:
    shape = (config.vocab_size, config.hidden_size)
    path = ('embedder', 'embedding')
    leaves.append(Leaf(path, shape, (tensor_names.WORDS,), shape))
  return leaves


def _attention_leaves(config, head, attention_fn: AttentionFns) -> list[Leaf]:
  """Arrays that the attentions of the layers have learned, mostly none."""
  functions = per_layer(attention_fn)
  shapes = [_attention_shapes(config, function) for function in functions]
  return [
    tensor_names.attention_leaf(config, _inside(head), layer, path, shape)
    for layer in range(config.num_hidden_layers)
    for path, shape in shapes[layer % len(shapes)].items()
  ]


def _attention_shapes(config, function) -> dict[tuple[str, ...], tuple]:
  """Shapes of what an attention learns in a layer, by their keys."""
  if not getattr(function, 'learned', False):
    return {}
  layer = BertLayer(config, function)
  init = functools.partial(layer.init, deterministic=True)
  hidden, mask = jnp.zeros((1, 1, config.hidden_size)), jnp.ones((1, 1), bool)
  params = jax.eval_shape(init, jax.random.key(0), hidden, mask)['params']
  learned = traverse_util.flatten_dict(params.get('attention', {}))
  return {path: leaf.shape for path, leaf in learned.items()}


def _inside(head) -> tuple[str, ...]:
  """Keys of the params that hold the encoder's."""
  return () if head is None else ('bert',)


def _head_leaves(config, tensors, head, num_labels: int) -> list[Leaf]:
  """Those of a head; of `Bert`, those of a pooler if there is one."""
  if head is not None:
    return list(tensor_names.head_leaves(config, head, num_labels))
  if config.model_type == 'distilbert':
    return []
  leaves = list(tensor_names.head_leaves(config, 'pooler'))
  has_any = any(name in tensors for leaf in leaves for name in leaf.names)
  return leaves if has_any else []


def _name_bias(config, tensors) -> dict[str, Tensor]:
  """Two names go for the bias of a masked language model; either may do."""
  tensors = dict(tensors)
  _, other, bias = tensor_names.decoder(config.model_type)
  if other in tensors:
    tensors.setdefault(bias, tensors[other])
  return tensors


def _is_absent(leaf: Leaf, tensors) -> bool:
  return any(name not in tensors for name in leaf.names)


def _is_lacking(leaf: Leaf, tensors, is_relabelled: bool) -> bool:
  if _is_absent(leaf, tensors):
    return True
  shapes = {tensors[name].shape for name in leaf.names}
  is_last = leaf.path[0] == 'classifier'
  return is_last and is_relabelled and shapes != {leaf.tensor_shape}


def _is_int8(leaf: Leaf, weights: str) -> bool:
  return weights == 'int8' and int8_tensors.is_int8(leaf)


def _names(leaf: Leaf, weights: str) -> Sequence[str]:
  if _is_int8(leaf, weights):
    return int8_tensors.tensor_names(leaf)
  return leaf.names


def _read(leaf: Leaf, tensors, weights: str) -> Any:
  if _is_int8(leaf, weights):
    return int8_tensors.read(leaf, tensors)
  return leaf.from_tensors([tensors[name].read() for name in leaf.names])


def _write(leaf: Leaf, value: Any, weights: str) -> dict[str, np.ndarray]:
  if _is_int8(leaf, weights):
    return int8_tensors.write(leaf, value)
  return dict(zip(leaf.names, leaf.to_tensors(_check_leaf(leaf, value))))


def _check(leaves: list[Leaf], tensors, is_packed: bool, weights: str) -> None:
  """Raises ValueError for tensors that are missing or of a wrong shape."""
  names = [name for leaf in leaves for name in _names(leaf, weights)]
  if missing := [name for name in names if name not in tensors]:
    raise ValueError(f'the checkpoint lacks {_shorten(missing)}.')
  for leaf in leaves:
    if _is_int8(leaf, weights):
      int8_tensors.check(leaf, tensors)
      continue
    for name in leaf.names:
      tensors[name].check(leaf.tensor_shape)
  words = tensors.get(tensor_names.WORDS)
  if is_packed and words is not None and 0 not in words.shape:
    raise ValueError(
      f'{words.name} must be empty where the words are packed, '
      f'got {list(words.shape)}; the directory is half-written: save it again.'
    )


def _check_tied(config, tensors, is_packed: bool) -> None:
  """Raises ValueError if words are scored by a table of their own."""
  name, _, _ = tensor_names.decoder(config.model_type)
  if name not in tensors:
    return
  words = None if is_packed else tensors[tensor_names.WORDS].read()
  if words is None or not np.array_equal(words, tensors[name].read()):
    raise ValueError(
      f'{tensors[name].name} must be the word embeddings: only tied tables are '
      'supported.'
    )


def _make_noise(config, leaves: list[Leaf], seed: int) -> dict:
  """Makes the arrays that a new layer starts from, by path."""
  rng = np.random.default_rng(seed)
  arrays = {}
  for leaf in leaves:
    array = np.zeros(leaf.shape, np.float32)
    if leaf.path[-1] == 'scale':
      array[:] = 1
    elif leaf.is_kernel:
      array[:] = rng.normal(0, config.initializer_range, leaf.shape)
    arrays[leaf.path] = array
  return arrays


def _check_leaf(leaf: Leaf, value: Any) -> np.ndarray:
  """A leaf of params as finite float32 of the right shape."""
  name = '/'.join(leaf.path)
  if isinstance(value, Stored):
    raise ValueError(
      f'{name} must be floats, got {value}; dequantize_encoder makes them.'
    )
  array = np.asarray(value)
  if array.shape != leaf.shape or not jnp.issubdtype(array.dtype, jnp.floating):
    raise ValueError(
      f'{name} must be floats {list(leaf.shape)}, '
      f'got {array.dtype}{list(array.shape)}.'
    )
  array = array.astype(np.float32, copy=False)
  if not np.isfinite(array).all():
    raise ValueError(f'{name} must be finite in float32.')
  return array


def _join(paths: set[tuple[str, ...]]) -> list[str]:
  return _shorten(sorted('/'.join(map(str, path)) for path in paths))


def _shorten(names: list[str]) -> list[str]:
  if len(names) <= _MAX_NAMED:
    return names
  return [*names[:_MAX_NAMED], f'and {len(names) - _MAX_NAMED} more']
