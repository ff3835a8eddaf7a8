"""Configuration: the model (model.py), every limit (limits.py), logging (logging.py), and
standard streams (streams.py)."""
