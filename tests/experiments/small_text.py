"""A small text of two topics, and a config that suits it."""

from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from configs import classify

TOPICS = ('ball team win game', 'vote law tax court')


def write(folder: Path) -> Path:
  """Writes train.tsv and test.tsv; the topics share most of their words."""
  rng = np.random.default_rng(0)
  common_words = [f'w{i}' for i in range(150)]
  odds = 1 / np.arange(1, 151)
  for split, num in (('train', 120), ('test', 40)):
    lines = ['text\tlabel']
    for number in range(num):
      words = rng.choice(common_words, 8, p=odds / odds.sum()).tolist()
      words += rng.choice(TOPICS[number % 2].split(), 3).tolist()
      lines.append(f'{" ".join(words)}\ttopic{number % 2}')
    (folder / f'{split}.tsv').write_text('\n'.join(lines) + '\n')
  return folder


def config_of(folder: Path, **fields) -> ConfigDict:
  """The smoke config, smaller still."""
  config = classify.get_config('smoke')
  config.data.name = str(folder)
  config.data.min_count = 1
  config.data.buckets = (16,)
  config.model.features = 8
  config.optim.batch_size = 16
  config.budget = 0.2
  config.update_from_flattened_dict(fields)
  return config
