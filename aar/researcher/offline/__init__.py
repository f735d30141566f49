"""Keyless researchers: a local Messages API server that runs a search program.

It is named ``offline-search`` everywhere: an evolutionary search over a problem's own components, guided by measured
scores. It is not a language model, but the baseline that one has to beat. ``server_process.run_offline_server`` starts
the server as a process of its own; ``python -m aar.researcher.offline`` is that process.

``model_server``     the parts of the Messages API that a researcher needs, with this program behind them
``server_process``   the server's process: starts, restarts and ends it
``conversation``     a request's messages as a record of actions, and the turn that follows
``search_state``     parses the record into the researcher's knowledge
``search``           the components of a problem, and the next genome to try
``policy``           the next turn
``texts``            its posts and other texts
"""

OFFLINE_MODEL_ID = "offline-search"
"""Model id of the server."""

SELF_DESCRIPTION = "offline search baseline, not an LLM"
"""The researcher's description of itself in every text."""
