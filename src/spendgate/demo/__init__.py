"""The demo and the trace replay: real traffic through the served model, and a proof of the money.

Owns: starting and stopping the servers, the crowd of agents, and a reckoning of every budget from
the provider's bill that shares no code with the ledger. Decides nothing about money; what it knows
of a call is what its client sent and what was answered.
"""
