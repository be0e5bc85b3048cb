"""The README's examples run, in order, as one program."""

import re
from pathlib import Path

import jax
import numpy as np

from embedcomp import Bert, BertConfig, save_pretrained

README = Path(__file__).parents[1] / 'README.md'
BLOCK = re.compile(r'^```python\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def write_bert(folder):
  """A model of random weights, with as many words as the first example."""
  config = BertConfig(
    vocab_size=2_000,
    hidden_size=32,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=32,
  )
  model, ids = Bert(config), np.ones((1, 2), np.int32)
  params = jax.jit(model.init)(jax.random.key(0), ids)['params']
  save_pretrained(folder, model, params)


def test_python_blocks_run(tmp_path, monkeypatch):
  blocks = BLOCK.findall(README.read_text())
  assert blocks
  monkeypatch.chdir(tmp_path)
  write_bert(tmp_path / 'bert')
  namespace = {'path': 'bert'}  # the reader's own
  for block in blocks:
    exec(compile(block, str(README), 'exec'), namespace)
