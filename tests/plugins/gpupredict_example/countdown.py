"""Progress of a made-up training library, `countdown`, which calls its `listeners`."""


class CountdownHint:
    module = "countdown"

    def __init__(self):
        self._sink = None

    def attach(self, sink):
        import countdown

        self._sink = sink
        countdown.listeners.append(self._heard)

    def poll(self):
        pass

    def detach(self):
        if self._sink is not None:
            import countdown

            countdown.listeners.remove(self._heard)
            self._sink = None

    def _heard(self, done, total):
        try:
            self._sink.progress("epoch", done, total, "countdown")
        except Exception:  # noqa: BLE001 - a failure of ours must not reach the loop
            self.detach()
