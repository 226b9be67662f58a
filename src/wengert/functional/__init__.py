"""Public functions by family: they parse arguments, promote, broadcast, and apply ops or formulas."""
