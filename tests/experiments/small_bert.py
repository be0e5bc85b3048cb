"""Small, fast runs of a BERT: texts of two topics, and pairs of them."""

from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import bert_compress, common
from tests.experiments import small_text


@pytest.fixture(scope='module')
def own_cache(tmp_path_factory):
  """Keeps what is cached in a folder."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('EMBEDCOMP_CACHE', str(tmp_path_factory.mktemp('cache')))
    yield


def write(folder: Path) -> Path:
  """Writes the text of `small_text` with second texts, and how alike they are.

  From 0 to 5: texts of one topic are more alike than others.
  """
  small_text.write(folder)
  rng = np.random.default_rng(1)
  for path in sorted(folder.iterdir()):
    rows = [line.split('\t') for line in path.read_text().splitlines()[1:]]
    lines = ['text\tlabel\tother\tscore']
    for (text, label), partner in zip(rows, rng.permutation(len(rows))):
      other, other_label = rows[partner]
      score = 4 * (label == other_label) + rng.random()
      lines.append(f'{text}\t{label}\t{other}\t{score:.2f}')
    path.write_text('\n'.join(lines) + '\n')
  return folder


def shrink(config: ConfigDict) -> None:
  """Sizes that suit the text of `write`."""
  common.make_small(config)
  config.data.buckets = (32,)
  config.data.held_out = 0.2
  config.data.max_documents = None
  config.optim.batch_size = 16


def config_of(folder: Path, variant: str = 'smoke', **fields) -> ConfigDict:
  """The config of a variant, as small as it gets."""
  config = bert_compress.get_config(variant)
  shrink(config)
  config.bert.path = 'tiny'
  config.data.name = str(folder)
  config.data.length = 32
  config.optim.learning_rate = 0.01
  config.optim.epochs = 1.0
  config.optim.best_of = 0
  config.search.epochs = 1.0
  config.finetune.learning_rate = 0.005
  config.compare_dense = False
  config.budget = 0.3
  if variant in ('regression', 'similarity'):
    config.data.text_field = 'text'
    config.data.pair_field = 'other'
    config.data.label_field = 'score'
  config.update_from_flattened_dict(fields)
  return config
