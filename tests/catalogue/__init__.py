"""Wrong inputs, a table: what each is, and what the command line must say of it.

``python -m catalogue`` (``make catalogue``) prints how many of each group were tried and held;
``tests/test_catalogue.py`` fails for those that did not.
"""
