"""Packages that only an extra installs are asked for by one helper."""

import json

import pytest

from embedcomp._internal import optional


def test_a_package_that_is_there_is_imported():
  assert optional.require('json', extra='plots') is json


def test_one_that_is_not_there_says_what_to_install():
  expected = (
    r'absent_package\.inner cannot .*pip install "embedcomp\[plots\]"\.'
  )
  with pytest.raises(ImportError, match=expected):
    optional.require('absent_package.inner', extra='plots')
