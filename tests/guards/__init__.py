"""The guards of the house: what keeps the structure, and not a feature, as it is."""
