"""Everything finescan raises on purpose.

::

    FinescanError                 exit code 1
    ├── InputError                3   a file or image that cannot be used as it is
    │   ├── MissingPixelSize      3   no (or an absurd) pixel size; names the option to pass
    │   └── UnreadableFile        3   truncated, unknown or unsupported file
    ├── RegistrationRefused       4   the fine scan was not found, or not well enough
    ├── MapRefused                4   the map is unlike what the model learned from
    ├── ModelError                3   a model file that is damaged or made for something else
    ├── OutputError               5   unwritable folder, full disk, folder of another run
    └── TrainingStopped           1   training could not go on (NaN); the last good model is kept

The message of each says what was expected, what came, and what to do.
``exit_code`` is what the command line returns (2 is kept for usage errors, 130 for Ctrl-C).
"""

from __future__ import annotations


class FinescanError(Exception):
    """Base of the family."""

    exit_code = 1


class InputError(FinescanError):
    """A file, image or argument that cannot be used as it is."""

    exit_code = 3


class MissingPixelSize(InputError):
    """The pixel size is missing, negative, zero or absurd."""


class UnreadableFile(InputError):
    """The file is truncated, of an unknown kind, or needs an optional reader."""


class RegistrationRefused(FinescanError):
    """The fine scan was not found in the coarse map, or not well enough to learn from."""

    exit_code = 4


class MapRefused(FinescanError):
    """The map is unlike what the model learned from, so its enhancement could not be trusted."""

    exit_code = 4


class ModelError(FinescanError):
    """The model file is damaged, or was made for another ratio or architecture."""

    exit_code = 3


class OutputError(FinescanError):
    """The output cannot be written, or would overwrite something."""

    exit_code = 5


class TrainingStopped(FinescanError):
    """Training could not go on; the last good checkpoint is kept."""
