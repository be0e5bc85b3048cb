"""The README's examples run, in order, as one program; links lead somewhere."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest

import embedcomp
from embedcomp import Bert, BertConfig, save_pretrained
from embedcomp.data import SubwordTokenizer

ROOT = Path(__file__).parents[1]
README = ROOT / 'README.md'
BLOCK = re.compile(r'^```python\n(.*?)^```$', re.MULTILINE | re.DOTALL)
LINK = re.compile(r'\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)')


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


@pytest.mark.slow
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


@pytest.mark.parametrize(
  'page',
  sorted([*ROOT.glob('*.md'), *ROOT.glob('docs/**/*.md')]),
  ids=lambda page: page.name,
)
def test_links_lead_to_files(page):
  missing = [
    link
    for link in LINK.findall(page.read_text())
    if not (page.parent / link).exists()
  ]
  assert not missing


def test_every_result_has_its_table():
  """And every table its result."""
  pages = ''.join(page.read_text() for page in ROOT.glob('docs/measured/*.md'))
  tables = re.findall(r'<!-- results:(\w+) -->', pages)
  results = [path.stem for path in (ROOT / 'results').glob('*.json')]
  assert sorted(tables) == sorted(results)
