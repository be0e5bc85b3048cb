r"""Runs one experiment.

  python -m experiments.main --config=configs/NAME.py[:variant] --workdir=DIR \
      [--config.section.field=value ...]

The same command resumes what was interrupted. See `configs/` for fields.
"""

import logging
import sys

from absl import app, flags
from absl import logging as absl_logging
from ml_collections import config_flags

from experiments import launch, pipeline

CONFIG = config_flags.DEFINE_config_file('config', None, 'Which experiment.')
WORKDIR = flags.DEFINE_string('workdir', None, 'Where its files go.')
flags.mark_flags_as_required(['config', 'workdir'])


def parse(argv: list[str]) -> list[str]:
  """Reads the flags; an override of a field that is none gives one line."""
  try:
    return flags.FLAGS(argv)
  except (AttributeError, KeyError) as error:  # what a misspelling leads to
    reason = error
    while isinstance(reason, Exception) and reason.args:
      reason = reason.args[0]
    text = '. '.join(str(reason).split('\n'))
    sys.exit(f'An override names a field that the config does not have: {text}')
  except flags.Error as error:
    sys.exit(f'{error}\nPass --helpshort or --helpfull to see help on flags.')


def main(argv: list[str]) -> None:
  """Runs the experiment that the flags describe."""
  if len(argv) > 1:
    raise app.UsageError(f'no arguments are expected, got {argv[1:]}.')
  absl_logging.set_verbosity(absl_logging.WARNING)
  try:
    run = pipeline.run if 'stages' in CONFIG.value else launch.run
    result = run(CONFIG.value, WORKDIR.value)
  except (ValueError, FileNotFoundError, FloatingPointError, OSError) as error:
    logging.debug('stopped', exc_info=True)
    sys.exit(f'{type(error).__name__}: {error}')
  print(launch.in_words(result, WORKDIR.value))


if __name__ == '__main__':
  app.run(main, flags_parser=parse)
