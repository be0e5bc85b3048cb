"""Sizes of a model and of its parts, in bytes of what is stored."""

import dataclasses
import os

import jax

from embedcomp.io.bert import attention_json
from embedcomp.nn.bert.config import BertConfig
from embedcomp.table.scheme import Scheme
from embedcomp.workflows.read_model import LabelledModel, read_model


@dataclasses.dataclass(frozen=True)
class ModelInfo:
  """Kind and sizes of a model of the BERT family.

  Attributes:
    config: sizes of its layers.
    attention: description of the attention of its layers.
    weight_dtype: 'float32' or 'int8', of all weights but the table's.
    labels: names of a classifier's labels; None without one.
    scheme: of a compressed table; None if it is dense.
    table_bytes: of the word embeddings.
    other_bytes: of all other weights.
  """

  config: BertConfig
  attention: str
  weight_dtype: str
  labels: tuple[str, ...] | None
  scheme: Scheme | None
  table_bytes: int
  other_bytes: int

  @property
  def dense_table_bytes(self) -> int:
    """Bytes of the word embeddings in float32."""
    return 4 * self.config.vocab_size * self.config.hidden_size

  @property
  def model_bytes(self) -> int:
    """Bytes of all weights."""
    return self.table_bytes + self.other_bytes


def model_info(model_dir: str | os.PathLike[str]) -> ModelInfo:
  """Reads a model and measures its parts.

  Args:
    model_dir: a directory that `from_pretrained` reads.

  Returns:
    Kind and sizes.

  Raises:
    FileNotFoundError: if a file is missing.
    ValueError: if a file is damaged or not supported.
  """
  return measured(read_model(model_dir))


def measured(source: LabelledModel) -> ModelInfo:
  """Measures the parts of a model that has been read."""
  model, params, labels = source
  config = model.config
  scheme = getattr(model.embedder, 'scheme', None)
  dense = 4 * config.vocab_size * config.hidden_size
  return ModelInfo(
    config=config,
    attention=attention_json.describe(model.attention_fn),
    weight_dtype=model.weights,
    labels=None if labels is None else tuple(labels),
    scheme=scheme,
    table_bytes=dense if scheme is None else scheme.num_bytes,
    other_bytes=sum(
      leaf.nbytes
      for name, part in params.items()
      if name != 'embedder'
      for leaf in jax.tree.leaves(part)
    ),
  )
