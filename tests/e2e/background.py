"""What goes on in a thread of its own while a context lasts."""

import threading

from .cluster import WAIT_S


class Background:
    """Whoever derives from it has a `_run` that ends within END_S after `_stop` is set."""

    END_S = WAIT_S

    def __init__(self):
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run_and_tell)
        self._failure = None

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(self.END_S)
        assert not self._thread.is_alive(), f"{type(self).__name__} does not end"

    def _run_and_tell(self):
        try:
            self._run()
        except BaseException as error:
            self._failure = error
            raise

    def check(self):
        """Raise what it raised."""
        if self._failure is not None:
            raise self._failure
