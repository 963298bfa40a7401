"""Scripts that make tables, one each, and what they share."""

import pathlib
import signal
import sys

_script = pathlib.Path(getattr(sys.modules["__main__"], "__file__", ""))
if (
    _script.resolve().parent == pathlib.Path(__file__).resolve().parent
    and signal.getsignal(signal.SIGINT) is signal.default_int_handler
):
    # Imports take seconds, in which Ctrl-C would end in the traceback of one of them.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
