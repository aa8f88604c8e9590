"""The rules of money, pure: standard library only, no clock, no I/O, no logging.

Owns money, usage, prices, bounds, windows, scopes, budgets, the decision, the life of a hold and
the spend event. A function that needs the time takes `at`; one that needs an id takes the id.
"""
