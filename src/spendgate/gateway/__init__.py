"""Use cases of the gate: who pays, may it start, call, settle.

Knows the domain and its own ports; knows no database, no HTTP library and no host.
"""
