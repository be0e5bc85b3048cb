"""The page of a run: one HTML file that needs nothing else."""

import base64
import html
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from embedcomp.plots import bytes_text
from embedcomp.table.scheme import Scheme
from experiments.benchmarks.tables import cell
from experiments.report.comparison_page import Comparison, deviation
from experiments.report.pictures import Picture
from experiments.report.read import Run

# Pictures stand on white in both modes: they are drawn for it.
_STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1e; --paper: #fdfdfd;
  --faint: #5f6368; --line: #d9dadc; --shade: #f1f3f5; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8ea;
  --paper: #17181a; --faint: #a2a6ab; --line: #3a3d41; --shade: #222427; } }
body { margin: 0 auto; max-width: 60rem; padding: 1.5rem 1rem 4rem;
  background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, 'Segoe UI', sans-serif; }
h1 { font-size: 1.5rem; margin-bottom: .4rem; }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .4rem; }
.headline { font-size: 1.2rem; }
figcaption, .note { color: var(--faint); }
figure { margin: .6rem 0; }
img { max-width: 100%; height: auto; background: #fff; padding: .6rem;
  box-sizing: border-box; border-radius: .5rem; border: 1px solid var(--line); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; margin: .6rem 0; }
th, td { padding: .28rem .7rem; border-bottom: 1px solid var(--line);
  text-align: left; white-space: nowrap; }
th { color: var(--faint); font-weight: 600; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.own td { font-weight: 650; background: var(--shade); }
pre { background: var(--shade); padding: .8rem; border-radius: .5rem;
  overflow-x: auto; font-size: .88rem; white-space: pre-wrap; }
details { margin: 1rem 0; }
summary { cursor: pointer; }
""".strip()
# Whatever a browser would do with text that escaped us: no script, no request.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_FACTS = {
  'method': 'method',
  'embedding_bytes': 'bytes of the table',
  'dense_embedding_bytes': 'bytes of the dense table',
  'embedding_params': 'numbers stored',
  'model_bytes': 'bytes of the whole model',
  'dense_model_bytes': 'bytes of the whole dense model',
  'validation': 'metric on validation data',
  'seed': 'seed',
  'steps': 'steps',
  'seconds': 'seconds',
  'device': 'device',
}


def render(run: Run, pictures: Sequence[Picture]) -> str:
  """The page as HTML.

  Args:
    run: what a workdir tells.
    pictures: in order; a table that belongs to one stands below it.

  Returns:
    A whole document; all of its text is escaped.
  """
  title = _title(run)
  below = {'comparison': _comparison, 'sizes': _scheme}
  data = {'comparison': run.comparison, 'sizes': run.scheme}
  sections = []
  for picture in pictures:
    extra = ''
    if picture.name in below:
      extra = below[picture.name](data[picture.name], run.result)
    sections.append(_section(picture, extra))
  return document(
    title,
    f"""<p class="headline">{headline(run.result)}</p>
{_facts(run.result)}
{_parts(run.result)}
{''.join(sections)}
<h2>Command</h2>
<pre>{html.escape(run.result['command'])}</pre>
{_config(run.config)}""",
  )


def document(title: str, body: str) -> str:
  """A whole HTML document.

  Args:
    title: plain text.
    body: HTML, its text escaped.
  """
  return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>
{_STYLE}
</style>
</head>
<body>
<h1>{html.escape(title)}</h1>
{body}
</body>
</html>
"""


def _title(run: Run) -> str:
  """Returns the task and the data of a run."""
  kind = (run.config or {}).get('task')
  if not isinstance(kind, str):
    return run.result['task']
  return f'{kind.replace("_", " ").capitalize()}: {run.result["task"]}'


def headline(result: Mapping[str, Any]) -> str:
  """Returns the result in a sentence or two of HTML.

  Args:
    result: of the run.

  Returns:
    Sizes, how many times smaller, and the metric beside the dense one.
  """
  dense = bytes_text(result['dense_embedding_bytes'])
  if result['embedding_bytes'] == result['dense_embedding_bytes']:
    size = f'The dense table takes <b>{dense}</b>.'
  else:
    factor = result['dense_embedding_bytes'] / result['embedding_bytes']
    size = (
      f'The table takes <b>{bytes_text(result["embedding_bytes"])}</b> '
      f'instead of {dense}: <b>{_factor(factor)} times smaller</b>.'
    )
  name = html.escape(f'{result["split"]} {result["metric"]}'.capitalize())
  metric = f'{name}: <b>{result["value"]:.4g}</b>'
  if result.get('dense_value') is not None:
    difference = result['value'] - result['dense_value']
    metric += (
      f', with the dense table {result["dense_value"]:.4g} '
      f'(difference {_signed(difference)})'
    )
  return f'{size} {metric}.'


def _factor(factor: float) -> str:
  return f'{factor:,.0f}' if factor >= 100 else f'{factor:.3g}'


def _signed(value: float) -> str:
  return f'{value:+.2g}'.replace('-', '\N{MINUS SIGN}')


def _text(value: Any) -> str:
  """A cell: thousands in groups, metrics to four digits."""
  if isinstance(value, float) and abs(value) < 1e4:
    return f'{value:.4g}'
  return cell(value)


def _section(picture: Picture, extra: str) -> str:
  source = base64.b64encode(picture.png).decode()
  alt = html.escape(f'{picture.title}. {picture.caption}')
  return f"""<section id="{html.escape(picture.name)}">
<h2>{html.escape(picture.title)}</h2>
<figure>
<img src="data:image/png;base64,{source}" alt="{alt}">
<figcaption>{html.escape(picture.caption)}</figcaption>
</figure>
{extra}
</section>
"""


def table(rows: Sequence[Mapping[str, Any]], own: Sequence[int] = ()) -> str:
  """Rows as a table, numbers to the right.

  Args:
    rows: cells by heading; columns in order of appearance.
    own: rows to show boldly.
  """
  headings = list(dict.fromkeys(heading for row in rows for heading in row))
  is_number = {
    heading: all(
      isinstance(row.get(heading), (int, float, type(None)))
      or str(row[heading])[:1] in '0123456789+\N{MINUS SIGN}'
      for row in rows
    )
    for heading in headings
  }
  css = {h: ' class="number"' if is_number[h] else '' for h in headings}
  head = ''.join(f'<th{css[h]}>{html.escape(h)}</th>' for h in headings)
  lines = [f'<tr>{head}</tr>']
  for index, row in enumerate(rows):
    cells = ''.join(
      f'<td{css[h]}>{html.escape(_text(row.get(h)))}</td>' for h in headings
    )
    mark = ' class="own"' if index in own else ''
    lines.append(f'<tr{mark}>{cells}</tr>')
  return '<div class="wide"><table>\n' + '\n'.join(lines) + '\n</table></div>'


def _facts(result: Mapping[str, Any]) -> str:
  shown = {
    name: result[key]
    for key, name in _FACTS.items()
    if result.get(key) is not None
  }
  lines = [
    f'<tr><th>{html.escape(name)}</th><td>{html.escape(_text(value))}</td></tr>'
    for name, value in shown.items()
  ]
  return '<table>\n' + '\n'.join(lines) + '\n</table>'


def _parts(result: Mapping[str, Any]) -> str:
  """Bytes of all parts of the model, if the run says them."""
  rows = result.get('bytes_by_part')
  if not rows:
    return ''
  shown = [
    {**row, 'times smaller': _factor(row['before'] / max(row['after'], 1))}
    for row in rows
  ]
  return f'<h2>The whole model</h2>\n{table(shown, own=[len(rows) - 1])}'


def _comparison(comparison: Comparison, result: Mapping[str, Any]) -> str:
  """Methods as a table, and all runs folded."""
  rows, own = [], []
  if comparison.dense is not None:
    sizes = dict.fromkeys(('runs', 'bytes', 'share', 'times smaller'))
    metric = {f'test {comparison.metric}': _spread(*comparison.dense)}
    rows.append({'method': 'dense', **sizes, **metric})
  for method in comparison.methods:
    if method.label == comparison.label_of(result['method']):
      own.append(len(rows))
    mean = float(np.mean(method.values))
    row = {
      'method': method.label,
      'runs': len(method.values),
      'bytes': round(method.num_bytes),
      'share': f'{100 * method.ratio:.3g}%',
      'times smaller': _factor(1 / method.ratio),
      f'test {comparison.metric}': _spread(mean, deviation(method.values)),
    }
    if comparison.dense is not None:
      row['beside dense'] = _signed(mean - comparison.dense[0])
    if method.validations:
      row['validation'] = f'{np.mean(method.validations):.4g}'
    rows.append(row)
  better = 'Higher' if comparison.higher_is_better else 'Lower'
  return (
    f'<p class="note">{better} is better. Mean \N{PLUS-MINUS SIGN} standard '
    'deviation over runs with other seeds.</p>\n'
    f'{table(rows, own)}\n'
    f'<details><summary>All {len(comparison.rows):,} runs</summary>\n'
    f'{table(comparison.rows)}\n</details>'
  )


def _spread(mean: float, spread: float) -> str:
  if not np.isfinite(spread):
    return f'{mean:.4g}'
  return f'{mean:.4g} \N{PLUS-MINUS SIGN} {spread:.1g}'


def _scheme(scheme: Scheme, result: Mapping[str, Any]) -> str:
  """Bytes by group and by what they hold."""
  del result
  rows = scheme.size_table()
  roles = dict.fromkeys(h for row in rows for h in row if h != 'bytes')
  ordered = [{h: row.get(h) for h in (*roles, 'bytes')} for row in rows]
  total = {'ranks': 'all', 'method': 'total', 'bytes': scheme.num_bytes}
  return table([*ordered, total], own=[len(ordered)])


def _config(config: Mapping[str, Any] | None) -> str:
  if config is None:
    return ''
  text = html.escape(json.dumps(config, indent=2, sort_keys=True))
  return f'<details><summary>Config</summary>\n<pre>{text}</pre>\n</details>'
