"""Files that are written whole, or not at all."""

import contextlib
import os
import pathlib
from collections.abc import Iterator


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A new file beside `path`, which takes its place at the end; makes the folder if need be.

    To rename is all or nothing: a kill at any moment leaves the old file or the new one, and an
    error the old one. Of two processes that write it the last one counts.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The name may be as long as names can be.
    temporary = path.with_name(f".{path.name[:50]}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.filename == str(temporary):  # nobody knows of it
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)
