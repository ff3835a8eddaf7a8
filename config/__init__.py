"""Configuration: the model (model.py), every limit (limits.py), and logging (logging.py)."""
