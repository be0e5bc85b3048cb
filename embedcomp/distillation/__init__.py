"""What a student learns from its teacher, as pure functions."""

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
from embedcomp.distillation.means import Mean
from embedcomp.distillation.objective import (
  COLLECTION,
  PROJECTION,
  Objective,
  Said,
  init_projection,
)
from embedcomp.distillation.relations import (
  relation_loss,
  sample_tokens,
  take_tokens,
)

__all__ = [
  'COLLECTION',
  'LAYER_MAPS',
  'PROJECTION',
  'LayerMap',
  'Mean',
  'Objective',
  'Said',
  'cosine_loss',
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
