"""The page of a run of several stages: a table, and links to their own."""

import html
from collections.abc import Mapping
from typing import Any

from embedcomp.plots import bytes_text
from experiments.report import page


def render(result: Mapping[str, Any]) -> str:
  """The page as HTML.

  Args:
    result: of `experiments.pipeline`.
  """
  before, after = result['dense_model_bytes'], result['model_bytes']
  size = (
    f'All weights take <b>{bytes_text(after)}</b> instead of '
    f'{bytes_text(before)}: <b>{before / after:.1f} times smaller</b>.'
  )
  rows = [
    {
      'stage': stage['stage'],
      'metric': stage['metric'],
      'test': f'{stage["value"]:.4f}',
      'bytes of the table': stage['embedding_bytes'],
      'steps': stage['steps'],
      'seconds': round(stage['seconds']),
      'most memory so far': bytes_text(stage['peak_memory_bytes']),
    }
    for stage in result['stages']
  ]
  rows.append(
    {
      'stage': f'written, {result["weights"]}',
      'metric': result['metric'],
      'test': f'{result["value"]:.4f}',
      'bytes of the table': result['embedding_bytes'],
    }
  )
  links = ', '.join(
    f'<a href="{name}/report.html">{name}</a>'
    for name in (html.escape(stage['stage']) for stage in result['stages'])
  )
  return page.document(
    f'A smaller BERT: {result["task"]}',
    f"""<p class="headline">{size} {page.headline(result)}</p>
{page.table(rows, own=[len(rows) - 1])}
<p>Reports of the stages: {links}. The model is in <code>model/</code>.</p>
<h2>Command</h2>
<pre>{html.escape(result['command'])}</pre>""",
  )
