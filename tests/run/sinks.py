"""Where the hints' tests listen."""


class Recorder:
    """Keeps what it is given, in order."""

    def __init__(self):
        self.heard = []

    def progress(self, unit, done, total, hint):
        self.heard.append((unit, done, total, hint))

    def phase(self, name, hint):
        self.heard.append((name, hint))

    def of(self, unit):
        """(done, total) of each mark of a unit."""
        return [(mark[1], mark[2]) for mark in self.heard if len(mark) == 4 and mark[0] == unit]

    @property
    def phases(self):
        return [mark[0] for mark in self.heard if len(mark) == 2]

    @property
    def outline(self):
        """Epochs as numbers among the names of the phases."""
        return [m[0] if len(m) == 2 else m[1] for m in self.heard if len(m) == 2 or m[0] == "epoch"]


class Exploding:
    """Fails at every call."""

    def progress(self, unit, done, total, hint):
        raise RuntimeError("no progress")

    def phase(self, name, hint):
        raise RuntimeError("no phase")
