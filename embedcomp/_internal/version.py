"""Version of the installed package."""

from importlib import metadata

try:
  # The number itself stands in setup.cfg.
  __version__ = metadata.version('embedcomp')
except metadata.PackageNotFoundError:  # a checkout that is not installed
  __version__ = '0+unknown'
