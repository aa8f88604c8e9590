"""The proof under fire: real gates on one ledger, real faults, and a reckoning from the bill.

Owns: the gates' processes and what is done to them, clients that retry with idempotency keys, a
PostgreSQL to crash, the corrections by evidence, and the checks at the end. What it shares with the
demo (screen, reckoning, traffic) it takes from there; it decides nothing about money.
"""
