"""Distillation: losses of a student that copies its teacher."""

from embedcomp.distillation.layer_maps import (
  LAYER_MAPS,
  LayerMap,
  identity_map,
  last_map,
  skip_map,
  uniform_map,
)
from embedcomp.distillation.losses import (
  cosine_loss,
  hidden_state_loss,
  logits_loss,
  regression_loss,
  similarity_loss,
  teacher_variance,
)
from embedcomp.distillation.objective import (
  PROJECTION,
  Objective,
  init_projection,
)
from embedcomp.distillation.relations import (
  relation_loss,
  sample_tokens,
  take_tokens,
)
from embedcomp.distillation.sentence_fidelity import (
  Fidelity,
  SourceFidelity,
  fidelity,
  fidelity_by_class,
)
from embedcomp.distillation.teacher import TaughtBatches, Teacher
from embedcomp.distillation.weighted_mean import Mean

__all__ = [
  'LAYER_MAPS',
  'PROJECTION',
  'Fidelity',
  'LayerMap',
  'Mean',
  'Objective',
  'SourceFidelity',
  'TaughtBatches',
  'Teacher',
  'cosine_loss',
  'fidelity',
  'fidelity_by_class',
  'hidden_state_loss',
  'identity_map',
  'init_projection',
  'last_map',
  'logits_loss',
  'regression_loss',
  'relation_loss',
  'sample_tokens',
  'similarity_loss',
  'skip_map',
  'take_tokens',
  'teacher_variance',
  'uniform_map',
]
