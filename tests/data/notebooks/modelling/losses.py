def squared(found, wanted):
    return float(((found - wanted) ** 2).mean())
