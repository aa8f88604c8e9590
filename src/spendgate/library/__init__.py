"""Library mode: budgets for agents that call their models themselves, over the same gate.

Owns the agent's side of a call: steps, refusals as exceptions, callbacks. What is held and charged
is decided by the gateway; a step is cooperative, because nothing keeps an agent from calling
without one.
"""
