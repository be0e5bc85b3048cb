"""Objective of distillation: a weighted sum of its losses.

References:
  Wang et al., MiniLMv2, Findings of ACL 2021 (relations).
  Jiao et al., TinyBERT, Findings of EMNLP 2020 (embeddings, hidden states).
  Reimers and Gurevych, Making Monolingual Sentence Embeddings Multilingual
    using Knowledge Distillation, EMNLP 2020 (sentence vectors).
"""

import dataclasses

import jax
import jax.numpy as jnp

from embedcomp.attention.inputs import as_mask
from embedcomp.distillation import layer_maps, losses, relations
from embedcomp.distillation.weighted_mean import Mean
from embedcomp.nn.bert.outputs import OUTPUTS_COLLECTION, ModelOutputs
from embedcomp.types import Array, PRNGKey

# The key, among a student's params, of the projection to its teacher's width.
PROJECTION = 'projection'
_WEIGHTS = (
  'embeddings',
  'hidden',
  'relations',
  'sentence',
  'similarities',
  'logits',
)


@dataclasses.dataclass(frozen=True)
class Objective:
  """Weighted sum of losses; those of weight 0 are left out.

  Attributes:
    embeddings: weight of the loss of the embeddings' output, normalised.
    hidden: weight of that of hidden states, the mean over `layer_map`.
    relations: weight of that of queries, keys and values of the last layer,
      their mean.
    sentence: weight of one minus the cosine of sentence vectors.
    similarities: weight of the loss of the cosines between the sentence vectors
      of a batch.
    logits: weight of that of the probabilities of classes, or of a number if
      there is one logit.
    share: of this loss in that of a task; the rest is that of labels.
    temperature: of the probabilities.
    layer_map: one of `LAYER_MAPS`.
    relation_heads: see `relation_loss`.
    relation_tokens: of each text, drawn at random.
    variances: of the teacher's states, L + 1; see `teacher_variance`.

  Raises:
    ValueError: for values out of range.

  Example:
    >>> outputs = ModelOutputs(jnp.ones((2, 3)))
    >>> mask = jnp.ones((2, 4), bool)
    >>> objective = Objective(hidden=0, sentence=1)
    >>> parts = objective.parts(outputs, outputs, mask, None)
    >>> abs(parts['sentence'].value) < 1e-6
    Array(True, dtype=bool)
  """

  embeddings: float = 0.0
  hidden: float = 1.0
  relations: float = 0.0
  sentence: float = 0.0
  similarities: float = 0.0
  logits: float = 0.0
  share: float = 1.0
  temperature: float = 1.0
  layer_map: str = 'identity'
  relation_heads: int = 12
  relation_tokens: int = 64
  variances: tuple[float, ...] = ()

  def __post_init__(self):
    weights = {name: getattr(self, name) for name in _WEIGHTS}
    if min(weights.values()) < 0 or not any(weights.values()):
      raise ValueError(
        'weights of losses must not be negative, nor all be zero, got '
        f'{weights}.'
      )
    if not 0 < self.share <= 1:
      raise ValueError(f'share must be in (0, 1], got {self.share}.')
    if not self.temperature > 0:
      raise ValueError(f'temperature must be positive, got {self.temperature}.')
    if self.layer_map not in layer_maps.LAYER_MAPS:
      raise ValueError(
        f'layer_map must be one of {[*layer_maps.LAYER_MAPS]}, got '
        f'{self.layer_map!r}.'
      )

  @property
  def needs_states(self) -> bool:
    """True if hidden states are compared."""
    return self.embeddings > 0 or self.hidden > 0

  def measured(self, teacher: ModelOutputs, mask: Array) -> 'Objective':
    """Returns the objective with the variances of a teacher's states.

    Args:
      teacher: its outputs for many texts.
      mask: [B, T] bool, True where there is a token.

    Returns:
      The same objective with `variances`.
    """
    states = teacher.hidden_states
    variances = (losses.teacher_variance(state, mask) for state in states)
    return dataclasses.replace(self, variances=tuple(map(float, variances)))

  def needed(self, outputs: ModelOutputs) -> ModelOutputs:
    """Returns the outputs that are compared; the others are None or empty."""
    return ModelOutputs(
      outputs.output,
      outputs.hidden_states if self.needs_states else (),
      outputs.query_key_value if self.relations else None,
    )

  def value(
    self,
    student: ModelOutputs,
    teacher: ModelOutputs,
    mask: Array,
    key: PRNGKey | None,
    projection: Array | None = None,
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Computes the weighted sum.

    Args:
      student: its outputs for a batch.
      teacher: the outputs of its teacher for the same batch.
      mask: [B, T] bool, True where there is a token; texts without any are not
        counted.
      key: of the tokens whose relations are compared; None always draws the
        same positions.
      projection: [Ds, D] float, learned, of states and sentence vectors; only
        needed by students of other widths, see `init_projection`.

    Returns:
      [] float32, and the losses by name.

    Raises:
      ValueError: if shapes do not agree, if depths do not suit the map of
        layers, or if a model has not kept the outputs that are compared.
    """
    found = {
      name: part.value
      for name, part in self.parts(
        student, teacher, mask, key, projection
      ).items()
    }
    total = sum(getattr(self, name) * value for name, value in found.items())
    return total, found

  def parts(
    self,
    student: ModelOutputs,
    teacher: ModelOutputs,
    mask: Array,
    key: PRNGKey | None,
    projection: Array | None = None,
  ) -> dict[str, Mean]:
    """Computes the losses by name, but those of weight 0; see `value`."""
    mask = as_mask(mask, allow_integers=True)
    rows = mask.any(axis=1)
    found: dict[str, Mean] = {}
    if self.needs_states:
      found |= self._of_states(
        student.hidden_states, teacher.hidden_states, mask, projection
      )
    if self.relations:
      found['relations'] = self._of_relations(
        student.query_key_value, teacher.query_key_value, mask, key
      )
    if self.sentence:
      found['sentence'] = losses.cosine_loss(
        student.output, teacher.output, rows, projection
      )
    if self.similarities:
      found['similarities'] = losses.similarity_loss(
        student.output, teacher.output, rows
      )
    if self.logits:
      found['logits'] = self._of_logits(student.output, teacher.output, rows)
    return found

  def _of_states(self, student, teacher, mask, projection) -> dict[str, Mean]:
    if not student or not teacher:
      raise ValueError(
        'a model must sow its hidden states into '
        f'{OUTPUTS_COLLECTION!r}, as those of the BERT family do.'
      )
    if len(self.variances) != len(teacher):
      raise ValueError(
        f'variances must be those of the {len(teacher)} states of the teacher, '
        f'got {len(self.variances)}: see Objective.measured.'
      )

    def loss(own, of_teacher):
      return losses.hidden_state_loss(
        student[own],
        teacher[of_teacher],
        mask,
        self.variances[of_teacher],
        projection,
      )

    found = {}
    if self.embeddings:
      found['embeddings'] = loss(0, 0)
    if self.hidden:
      layer_map = layer_maps.LAYER_MAPS[self.layer_map]
      pairs = layer_map(len(student) - 1, len(teacher) - 1)
      found['hidden'] = sum(
        (loss(*pair) for pair in pairs[1:]), loss(*pairs[0])
      )
    return found

  def _of_relations(self, student, teacher, mask, key) -> Mean:
    if student is None or teacher is None:
      raise ValueError(
        'relations need queries, keys and values of both models; a student '
        'whose layers are rematerialised (remat) does not keep them.'
      )
    if key is None:
      key = jax.random.key(0)
    positions, mask = relations.sample_tokens(key, mask, self.relation_tokens)
    student, teacher = (
      relations.take_tokens(arrays, positions) for arrays in (student, teacher)
    )  # [B, P, 3, N, H]
    parts = [
      relations.relation_loss(
        student[:, :, kind], teacher[:, :, kind], mask, self.relation_heads
      )
      for kind in range(3)
    ]
    return parts[0] + parts[1] + parts[2]

  def _of_logits(self, student, teacher, rows) -> Mean:
    if student.shape[-1] == 1:
      return losses.regression_loss(student[:, 0], teacher[:, 0], rows)
    return losses.logits_loss(student, teacher, rows, self.temperature)


def init_projection(key: PRNGKey, width: int, teacher_width: int) -> jax.Array:
  """Draws an initial projection, which keeps the variance of features.

  One serves all layers, as they share one space of features.

  Args:
    key: of the random numbers.
    width: Ds, features of the student.
    teacher_width: D.

  Returns:
    [Ds, D] float32.

  Example:
    >>> init_projection(jax.random.key(0), 16, 32).shape
    (16, 32)
  """
  shape = width, teacher_width
  return jax.random.normal(key, shape, jnp.float32) * width**-0.5
