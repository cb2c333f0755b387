"""A disk that does not answer, behind the seam of `core.files`."""

import threading

from jupyter_gpupredict.core import files


class Held(files.Disk):
    """A disk that does not answer for some paths until it is let go."""

    def __init__(self, *paths):
        self.paths, self.free = {str(path) for path in paths}, threading.Event()

    def _wait(self, path):
        if str(path) in self.paths:
            assert self.free.wait(30)

    def open(self, path, flags):
        self._wait(path)
        return files.Disk.open(path, flags)

    def status(self, path, **options):
        self._wait(path)
        return files.Disk.status(path, **options)

    def names(self, path):
        self._wait(path)
        return files.Disk.names(path)

    def private(self, path):
        self._wait(path)
        files.Disk.private(path)
