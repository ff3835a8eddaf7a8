"""Configuration: the model (model.py), addresses as people write them (addresses.py), every limit
(limits.py), logging (logging.py), and standard streams (streams.py)."""
