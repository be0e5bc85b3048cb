"""The demo, on a small text."""

import dataclasses

import pytest

from configs import classify
from experiments import demo
from experiments.benchmark import BENCHMARKS
from tests.experiments import small_text


@pytest.fixture(name='on_small_text')
def use_small_text(tmp_path, monkeypatch):
  folder = small_text.write(tmp_path)
  quick = {'optim.epochs': 1.0, 'search.epochs': 1.0}
  config = small_text.config_of(folder, **quick)
  monkeypatch.setattr(
    classify, 'get_config', lambda variant: config.copy_and_resolve_references()
  )
  benchmark = BENCHMARKS['search_r52']
  sizes = dataclasses.replace(benchmark._sizes, rank_shares=(1 / 4,))
  monkeypatch.setattr(benchmark, '_sizes', sizes)
  monkeypatch.setattr(demo, '_LABELS', ('dense', 'low_rank'))


@pytest.mark.slow
def test_the_demo_ends_with_a_table_and_a_page(on_small_text, tmp_path):
  workdir = tmp_path / 'demo'
  page, table = demo.run(workdir, smoke=True)
  assert page.read_text().lower().startswith('<!doctype html>')
  assert [row['method'] for row in table] == ['dense', 'low_rank']
  rows = (workdir / 'comparison.json').read_bytes()
  _, again = demo.run(workdir, smoke=True)  # goes on with what there is
  assert again == table
  assert (workdir / 'comparison.json').read_bytes() == rows


def test_what_the_demo_shows_is_measured():
  jobs = BENCHMARKS['search_r52'].jobs(smoke=False, seeds=1)
  assert set(demo._LABELS) <= {job.name.removesuffix(' 0') for job in jobs}
