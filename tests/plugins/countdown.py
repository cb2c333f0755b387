"""A training library of a third party: it counts epochs, and tells whoever listens."""

listeners = []


def run(epochs):
    """Return what the epochs computed."""
    found = 0
    for number in range(epochs):
        found += number
        for listener in tuple(listeners):
            listener(number + 1, epochs)
    return found
