"""Researchers without a key: a model server on loopback that speaks the Messages API and plays a search program.

What it plays is named ``offline-search`` everywhere: an evolutionary search over a problem's own components, guided by
measured scores. It is no language model; it is the baseline that one has to beat. ``server_process.run_offline_server``
starts the server as a process of its own; ``python -m aar.researcher.offline`` is that process.

==================  ==============================================================
``server``          the double of the Messages API, with this program as its model
``reply``           what a turn says and does
``conversation``    a request's messages as what was done and what was seen
``memory``          what the researcher knows
``recollection``    how it is read from the conversation
``repertoires``     what a problem gives to work with
``evolution``       which genome to try next
``policy``          the next turn
``writing``         its posts and texts
==================  ==============================================================
"""

OFFLINE_MODEL_ID = "offline-search"
"""Model id that the server answers to."""

SELF_DESCRIPTION = "offline search baseline, not an LLM"
"""What the researcher calls itself wherever it speaks."""
