"""Flags, which all scripts of a process share."""

import pytest
from absl import flags
from absl.testing import flagsaver


@pytest.fixture(autouse=True)
def flags_as_they_were():
    """What a test sets is for itself; whatever ran before, it begins with the defaults."""
    with flagsaver.flagsaver():
        flags.FLAGS.mark_as_parsed()
        yield
