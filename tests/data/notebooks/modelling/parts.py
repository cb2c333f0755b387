from shared_tools import scale

from . import constants


class Model:
    def __init__(self, slope):
        self.slope = slope

    def predict(self, x):
        return self.slope * scale(x) + constants.OFFSET
