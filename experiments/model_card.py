"""Model card of a compressed model."""

from collections.abc import Mapping
from typing import Any

from experiments.benchmarks import tables

_TEXT = """\
---
license: {licence}
library_name: embedcomp
base_model: {parent}
---

# {name}

{parent}, fine-tuned for {task} and made {factor:.1f} times smaller with
embedcomp: its word embeddings are compressed {embedding_factor:.1f} times by a
scheme that was searched for, and its other weights are stored as {weights}.

| | this model | its teacher |
| --- | --: | --: |
| {metric}, {split} split of {task} | {value:.4f} | {dense_value:.4f} |
| bytes of all weights | {model_bytes:,} | {dense_model_bytes:,} |
| bytes of the word embeddings | {embedding_bytes:,} | \
{dense_embedding_bytes:,} |

## How to use it

```python
import embedcomp

model, params = embedcomp.from_pretrained('.', head='classification')
(text,) = embedcomp.SubwordTokenizer.load('.').encode(['a text'])
logits = model.apply({{'params': params}}, text.ids[None])
```

`embedcomp export . DENSE` writes it with a dense table and float weights, as
transformers reads it.

## How it was made

{stages}

    {command}

## Licence

That of its parent, {parent}: {licence}. Data sets have licences of their own.
"""


def render(result: Mapping[str, Any], *, parent: str, licence: str) -> str:
  """Renders the card as Markdown.

  Args:
    result: of `experiments.pipeline`.
    parent: name or directory of the model that it was made from.
    licence: of the parent.
  """
  rows = [
    {
      'stage': stage['stage'],
      'metric': stage['metric'],
      'test': f'{stage["value"]:.4f}',
      'steps': stage['steps'],
      'seconds': round(stage['seconds']),
    }
    for stage in result['stages']
  ]
  fields = {
    **result,
    'name': f'{parent}, smaller',
    'parent': parent,
    'licence': licence,
    'factor': result['dense_model_bytes'] / result['model_bytes'],
    'embedding_factor': (
      result['dense_embedding_bytes'] / result['embedding_bytes']
    ),
    'stages': tables.markdown_table(rows),
  }
  return _TEXT.format(**fields)
