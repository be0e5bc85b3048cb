"""The README's examples run, in order, as one program."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / 'README.md'
BLOCK = re.compile(r'^```python\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def test_python_blocks_run(tmp_path, monkeypatch):
  blocks = BLOCK.findall(README.read_text())
  assert blocks
  monkeypatch.chdir(tmp_path)
  namespace = {}
  for block in blocks:
    exec(compile(block, str(README), 'exec'), namespace)
