"""Help and wrong usage of `embedcomp`, for which nothing heavy is loaded."""

import json
import subprocess
import sys

import pytest

from embedcomp.cli import main, parser
from embedcomp.io.bert import config_json
from embedcomp.nn.bert import int8
from embedcomp.workflows import evaluate, read_model

COMMANDS = ('', 'info', 'compress', 'evaluate', 'fidelity', 'export')
COMPRESS = ('compress', 'MODEL', 'OUTPUT', '--text=FILE')
FIDELITY = ('fidelity', 'MODEL', 'COMPRESSED', '--text=FILE')
EVALUATE = ('evaluate', 'MODEL', 'DATA', '--task=similarity')
CODE = """
import json, sys
from embedcomp.cli.main import main
codes = []
for arguments in json.loads(sys.argv[1]):
  try:
    main(arguments)
  except SystemExit as ended:
    codes.append(ended.code)
print(json.dumps([codes, sorted(sys.modules)]))
"""


@pytest.mark.parametrize('name', COMMANDS)
def test_help_is_there(name, capsys):
  with pytest.raises(SystemExit) as ended:
    main.main([*name.split(), '--help'])
  assert ended.value.code == 0
  said = capsys.readouterr().out
  assert said.startswith('usage: embedcomp')
  assert 'None' not in said


@pytest.mark.parametrize(
  ('arguments', 'reason'),
  [
    ((*COMPRESS, '--budget=2.5'), 'got 2.5'),
    ((*COMPRESS, '--budget=small'), "as '40x', got 'small'"),
    ((*COMPRESS, '--budget=0'), 'a share in (0, 1), a number of bytes'),
    ((*COMPRESS, '--budget=4x', '--seed=-1'), 'an integer from 0 on'),
    ((*COMPRESS, '--budget=4x', '--seed=1.5'), "got '1.5'"),
    ((*COMPRESS, '--budget=4x', '--weights=int4'), "invalid choice: 'int4'"),
    ((*COMPRESS, '--budget=4x', '--head=sentence'), "choice: 'sentence'"),
    ((*EVALUATE, '--label-scale=0'), "a positive number, got '0'"),
    ((*EVALUATE, '--label-scale=nan'), "a positive number, got 'nan'"),
    ((*EVALUATE, '--label-scale=big'), "a positive number, got 'big'"),
    ((*EVALUATE, '--max-length=0'), 'an integer from 1 on'),
    (('evaluate', 'MODEL', 'DATA', '--task=none'), "invalid choice: 'none'"),
    ((*FIDELITY, '--max-length=0'), 'an integer from 1 on'),
    (FIDELITY[:3], 'required: --text'),
    (('info',), 'required: MODEL'),
    ((), 'required: COMMAND'),
  ],
)
def test_wrong_usage_is_named_before_any_file_is_looked_at(
  arguments, reason, capsys
):
  with pytest.raises(SystemExit) as ended:
    main.main(arguments)
  assert ended.value.code == 2
  assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
  ('text', 'budget'),
  [('40x', '40x'), ('0.025', 0.025), ('1000', 1000), ('1e-2', 0.01)],
)
def test_budgets_are_read_as_the_library_takes_them(text, budget):
  arguments = [*COMPRESS, f'--budget={text}']
  found = parser.make_parser().parse_args(arguments).budget
  assert found == budget
  assert type(found) is type(budget)


def test_choices_are_those_of_the_library():
  assert sorted(evaluate.HEADS) == sorted(parser.TASKS)
  assert (read_model.ENCODER, *config_json.HEADS) == parser.HEADS
  assert parser.WEIGHTS == int8.WEIGHTS


def test_help_and_mistakes_of_usage_load_nothing_heavy(tmp_path):
  (tmp_path / 'model').mkdir()
  model, text = str(tmp_path / 'model'), f'--text={tmp_path / "no.txt"}'
  arguments = [
    *([*name.split(), '--help'] for name in COMMANDS),
    [],
    [*COMPRESS, '--budget=small'],
    ['info', str(tmp_path / 'nothing')],
    ['compress', model, str(tmp_path / 'new'), '--budget=4x', text],
    ['fidelity', model, str(tmp_path / 'nothing'), text],
  ]
  run = subprocess.run(
    [sys.executable, '-c', CODE, json.dumps(arguments)],
    capture_output=True,
    text=True,
    check=True,
  )
  codes, modules = json.loads(run.stdout.splitlines()[-1])
  assert codes[:8] == [0] * 6 + [2] * 2
  assert all('embedcomp: ' in code for code in codes[8:])
  loaded = {module.partition('.')[0] for module in modules}
  assert not loaded & {'jax', 'jaxlib', 'flax', 'scipy', 'tqdm', 'tokenizers'}


def test_the_package_is_the_command(tmp_path):
  run = subprocess.run(
    [sys.executable, '-m', 'embedcomp', 'info', str(tmp_path / 'nothing')],
    capture_output=True,
    text=True,
  )
  assert run.returncode == 1
  assert run.stderr.startswith('embedcomp: MODEL must be a directory')
