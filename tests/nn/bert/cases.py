"""Small models of the BERT family, made of seeds, and what they compute.

Checkpoints have the names and shapes that transformers wrote; their numbers,
and those of inputs, come from NumPy's generators. So the numbers that PyTorch
had can be kept and compared with where there is no PyTorch.
"""

import dataclasses
import json
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import embedcomp
from embedcomp.io.bert import params as bert_params
from embedcomp.nn import Bert

GOLDENS = Path(__file__).parent / 'goldens' / 'bert.npz'
NUM_TEXTS, NUM_TOKENS = 2, 7
NUM_ENTRIES = 8


@dataclasses.dataclass(frozen=True)
class Case:
  """A model and its inputs.

  Attributes:
    fields: of config.json, by the names of its family.
    head: as in `from_pretrained`.
    padding: 'right' as tokenizers do, 'holes' anywhere, or 'none', in which
      case no mask is given.
    token_types: whether they are given.
  """

  fields: tuple[tuple[str, object], ...]
  head: str | None = None
  padding: str = 'right'
  token_types: bool = False

  @property
  def config(self) -> dict:
    return dict(self.fields)

  @property
  def pad_id(self) -> int:
    family = self.config['model_type']
    return self.config.get('pad_token_id', int('roberta' in family))


def case(
  family, layers, heads, features, act, head=None, *, more=(), **kwargs
) -> Case:
  sizes = (layers, heads, features, features * 2, act)
  if family == 'distilbert':
    names = ('n_layers', 'n_heads', 'dim', 'hidden_dim', 'activation')
  else:
    names = (
      'num_hidden_layers',
      'num_attention_heads',
      'hidden_size',
      'intermediate_size',
      'hidden_act',
    )
  fields = {'model_type': family, 'vocab_size': 23}
  fields |= {'max_position_embeddings': 12} | dict(zip(names, sizes))
  return Case(tuple((fields | dict(more)).items()), head, **kwargs)


THREE_LABELS = {'id2label': ((0, 'a'), (1, 'b'), (2, 'c'))}
CASES = {
  'bert': case('bert', 2, 3, 24, 'gelu', token_types=True),
  'bert_relu': case('bert', 1, 5, 20, 'relu', padding='holes'),
  'bert_deep': case(
    'bert', 4, 2, 16, 'gelu_new', more={'type_vocab_size': 3}, token_types=True
  ),
  'bert_silu': case(
    'bert', 2, 1, 12, 'silu', more={'layer_norm_eps': 1e-3}, padding='none'
  ),
  'roberta': case(
    'roberta', 2, 3, 24, 'gelu', more={'type_vocab_size': 1, 'pad_token_id': 1}
  ),
  'roberta_relu': case(
    'roberta', 3, 1, 12, 'relu', more={'pad_token_id': 4}, token_types=True
  ),
  'xlm_roberta': case('xlm-roberta', 1, 7, 28, 'gelu_new', padding='none'),
  'distilbert': case('distilbert', 2, 3, 24, 'gelu'),
  'distilbert_deep': case('distilbert', 4, 5, 20, 'relu', padding='holes'),
  'distilbert_new': case('distilbert', 1, 2, 16, 'gelu_new', padding='none'),
} | {
  f'{family}_{head}': case(
    family, 1, 3, 12, 'relu', head, more=more if 'class' in head else ()
  )
  for family, more in (
    ('bert', THREE_LABELS),
    ('roberta', {}),
    ('distilbert', THREE_LABELS),
  )
  for head in ('classification', 'token_classification', 'masked_lm')
}


def make_tensors(shapes: dict[str, list[int]]) -> dict[str, np.ndarray]:
  """Tensors of a checkpoint, each from a seed of its name."""
  tensors = {}
  for name, shape in shapes.items():
    values = np.random.default_rng(zlib.crc32(name.encode())).normal(size=shape)
    if len(shape) == 2:
      values *= 0.3
    else:
      values = 0.1 * values + ('norm' in name.lower() and 'weight' in name)
    tensors[name] = values.astype(np.float32)
  return tensors


def make_inputs(
  model_case: Case,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None, np.ndarray]:
  """Ids, the mask and token types, if given, and which tokens are real."""
  rng = np.random.default_rng(1)
  shape = (NUM_TEXTS, NUM_TOKENS)
  config = model_case.config
  ids = rng.integers(5, config['vocab_size'], shape)
  real = np.ones(shape, bool)
  if model_case.padding == 'right':
    real[1, 4:] = False
    ids[~real] = model_case.pad_id
  elif model_case.padding == 'holes':
    real[0, 2] = real[1, 5:] = False
  types = None
  if model_case.token_types:
    types = rng.integers(config.get('type_vocab_size', 2), size=shape)
  return ids, None if model_case.padding == 'none' else real, types, real


def make_probe(name: str, shape: tuple[int, ...]) -> np.ndarray:
  """What an output is multiplied by to get the number that is derived."""
  rng = np.random.default_rng(zlib.crc32(name.encode()))
  return (rng.normal(size=shape) / np.sqrt(np.prod(shape))).astype(np.float32)


def some_entries(array: np.ndarray) -> np.ndarray:
  """A few entries of an array, and the root of their mean square."""
  flat = np.asarray(array, np.float64).reshape(-1)
  at = np.linspace(0, flat.size - 1, NUM_ENTRIES).astype(int)
  return np.append(flat[at], np.sqrt((flat**2).mean())).astype(np.float32)


def minilm_inputs():
  """As `make_inputs`, for MiniLM-L6."""
  rng = np.random.default_rng(0)
  ids = rng.integers(1_000, 30_000, (2, 9))
  real = np.ones(ids.shape, bool)
  real[1, 5:] = False
  ids[~real] = 0
  return ids, real, np.zeros_like(ids), real


def write_checkpoint(folder: Path, model_case: Case, shapes) -> Path:
  """A directory as transformers would have written it."""
  import safetensors.numpy

  folder.mkdir(exist_ok=True)
  config = model_case.config
  if 'id2label' in config:
    config['id2label'] = dict(config['id2label'])
  (folder / 'config.json').write_text(json.dumps(config))
  tensors = make_tensors(shapes)
  safetensors.numpy.save_file(tensors, folder / 'model.safetensors')
  return folder


def outputs_and_gradients(
  model, params, ids, mask, types, real
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
  """Outputs of our model by name, and gradients by transformers' names."""
  kwargs = {}
  if isinstance(model, Bert):
    kwargs = {'output_hidden_states': True, 'output_attentions': True}

  @jax.jit
  def derive(params):
    def score(params):
      found = model.apply({'params': params}, ids, mask, types, **kwargs)
      if not isinstance(model, Bert):
        named = {'logits': found}
      else:
        named = {
          'last_hidden_state': found.last_hidden_state,
          'hidden_states': jnp.stack(found.hidden_states),
          'attentions': jnp.stack(found.attentions),
        }
        if found.pooler_output is not None:
          named['pooler_output'] = found.pooler_output
      return probed(named, real, jnp), named

    return jax.grad(score, has_aux=True)(params)

  gradients, outputs = derive(params)
  is_pooled = isinstance(model, Bert) and model.add_pooler
  head = 'pooler' if is_pooled else HEADS[type(model).__name__]
  layout = bert_params.Layout(
    config=model.config,
    head=head,
    num_labels=getattr(model, 'num_labels', 0),
    is_packed=False,
  )
  tensors = bert_params.to_tensors(layout, gradients)
  return {k: np.asarray(v) for k, v in outputs.items()}, tensors


HEADS = {
  'Bert': None,
  'BertClassifier': 'classification',
  'BertTokenClassifier': 'token_classification',
  'BertMaskedLM': 'masked_lm',
}


def probed(outputs, real, backend):
  """The number that is derived, of JAX's or PyTorch's outputs."""
  total = 0.0
  for name in ('last_hidden_state', 'pooler_output', 'logits'):
    if name not in outputs:
      continue
    probe = make_probe(name, tuple(outputs[name].shape))
    if probe.ndim == 3:  # PyTorch keeps gradients from the padding's row
      probe = probe * real[..., None]
    total = total + (outputs[name] * backend.asarray(probe)).sum()
  return total


def load(folder: Path, model_case: Case, shapes):
  """Our model and params of a case."""
  write_checkpoint(folder, model_case, shapes)
  return embedcomp.from_pretrained(folder, head=model_case.head)
