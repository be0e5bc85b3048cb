"""A small BERT as transformers writes it, every name spelt out."""

import itertools
import json

import jax
import numpy as np
import safetensors.numpy

import embedcomp
from embedcomp import BertConfig, Group, Scheme, methods

V, D, N, H, F, P = 11, 6, 2, 3, 8, 7
FIELDS = {
  'model_type': 'bert',
  'vocab_size': V,
  'hidden_size': D,
  'num_hidden_layers': 1,
  'num_attention_heads': N,
  'intermediate_size': F,
  'max_position_embeddings': P,
}
CONFIG = BertConfig(**FIELDS)
LAYER = 'encoder.layer.0.'
# The encoder of BERT as transformers names it, spelt out.
SHAPES = {
  'embeddings.word_embeddings.weight': (V, D),
  'embeddings.position_embeddings.weight': (P, D),
  'embeddings.token_type_embeddings.weight': (2, D),
  'embeddings.LayerNorm.weight': (D,),
  'embeddings.LayerNorm.bias': (D,),
  LAYER + 'attention.self.query.weight': (D, D),
  LAYER + 'attention.self.query.bias': (D,),
  LAYER + 'attention.self.key.weight': (D, D),
  LAYER + 'attention.self.key.bias': (D,),
  LAYER + 'attention.self.value.weight': (D, D),
  LAYER + 'attention.self.value.bias': (D,),
  LAYER + 'attention.output.dense.weight': (D, D),
  LAYER + 'attention.output.dense.bias': (D,),
  LAYER + 'attention.output.LayerNorm.weight': (D,),
  LAYER + 'attention.output.LayerNorm.bias': (D,),
  LAYER + 'intermediate.dense.weight': (F, D),
  LAYER + 'intermediate.dense.bias': (F,),
  LAYER + 'output.dense.weight': (D, F),
  LAYER + 'output.dense.bias': (D,),
  LAYER + 'output.LayerNorm.weight': (D,),
  LAYER + 'output.LayerNorm.bias': (D,),
  'pooler.dense.weight': (D, D),
  'pooler.dense.bias': (D,),
}
WORDS = 'embeddings.word_embeddings.weight'
QUERY = LAYER + 'attention.self.query.weight'
IDS = np.array([[2, 5, 6, 3, 0], [2, 9, 8, 7, 3]])
SCHEME = Scheme(
  D,
  (
    Group(3, methods.Dense('int8')),
    Group(4, methods.LowRank(2)),
    Group(4, methods.VectorQuantization(3, 'int8')),
  ),
  order='stored',
)


def make_tensors(seed: int = 0) -> dict[str, np.ndarray]:
  rng = np.random.default_rng(seed)
  return {
    name: rng.normal(size=shape).astype(np.float32)
    for name, shape in SHAPES.items()
  }


def write(folder, tensors, fields=None):
  """A directory as transformers writes it."""
  folder.mkdir(exist_ok=True)
  (folder / 'config.json').write_text(json.dumps(FIELDS | (fields or {})))
  if tensors is not None:
    safetensors.numpy.save_file(tensors, folder / 'model.safetensors')
  return folder


def write_shards(folder, tensors, names=('one.safetensors', 'two.safetensors')):
  write(folder, None)
  shards = {name: {} for name in names}
  for shard, (name, tensor) in zip(itertools.cycle(names), tensors.items()):
    shards[shard][name] = tensor
  for shard, part in shards.items():
    safetensors.numpy.save_file(part, folder / shard)
  places = {name: s for s, part in shards.items() for name in part}
  index = {'metadata': {}, 'weight_map': places}
  (folder / 'model.safetensors.index.json').write_text(json.dumps(index))
  return index


def random_params(model, seed: int = 0):
  """Params of the shapes that `init` would make."""
  rng = np.random.default_rng(seed)
  shapes = jax.eval_shape(model.init, jax.random.key(0), IDS)['params']
  return jax.tree.map(
    lambda leaf: rng.normal(size=leaf.shape).astype(leaf.dtype), shapes
  )


def assert_same(left, right):
  assert jax.tree.structure(left) == jax.tree.structure(right)
  for one, other in zip(jax.tree.leaves(left), jax.tree.leaves(right)):
    one, other = np.asarray(one), np.asarray(other)
    assert (one.dtype, one.shape) == (other.dtype, other.shape)
    assert one.tobytes() == other.tobytes()


def assert_comes_back(folder, model, params, head):
  """What is written is read to the bit, and written again to the same files."""
  embedcomp.save_pretrained(folder / 'one', model, params)
  again, found = embedcomp.from_pretrained(folder / 'one', head=head)
  assert again == model
  assert_same(found, params)
  embedcomp.save_pretrained(folder / 'two', again, found)
  assert contents(folder / 'one') == contents(folder / 'two')


def contents(folder) -> dict[str, bytes]:
  return {path.name: path.read_bytes() for path in folder.iterdir()}
