"""The README's examples run, in order, as one program."""

import re
from pathlib import Path

import jax
import numpy as np

import embedcomp
from embedcomp import Bert, BertConfig, save_pretrained
from embedcomp.data import SubwordTokenizer

README = Path(__file__).parents[1] / 'README.md'
BLOCK = re.compile(r'^```python\n(.*?)^```$', re.MULTILINE | re.DOTALL)


WORDS = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']
WORDS += [f'word{number}' for number in range(495)]


def write_bert(folder):
  """A model of random weights, with a tokenizer."""
  config = BertConfig(
    vocab_size=len(WORDS),
    hidden_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=32,
  )
  model, ids = Bert(config), np.ones((1, 2), np.int32)
  params = jax.jit(model.init)(jax.random.key(0), ids)['params']
  save_pretrained(folder, model, params)
  (folder / 'vocab.txt').write_text('\n'.join(WORDS))


def test_python_blocks_run(tmp_path, monkeypatch):
  blocks = BLOCK.findall(README.read_text())
  assert blocks
  monkeypatch.chdir(tmp_path)
  write_bert(tmp_path / 'bert')
  lines = [' '.join(WORDS[5 : 5 + size]) for size in range(1, 100)]
  namespace = {'path': 'bert', 'lines': lines}  # the reader's own
  for block in blocks:
    exec(compile(block, str(README), 'exec'), namespace)
  model, _ = embedcomp.from_pretrained('small')
  assert model.embedder.scheme == namespace['scheme']
  assert SubwordTokenizer.load('small').vocab_size == len(WORDS)
