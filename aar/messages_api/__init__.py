"""A double of Anthropic's Messages API: the wire contract, without a model behind it.

What answers is a ``ModelBackend`` that a test writes as a script or a function, the offline researcher, or a recording.
Everything around it is done here as the service does it: validation, pairing, signatures of thinking, the prompt
cache, context editing and compaction, usage, server-sent events, errors and faults. ``aar.testing.fake_messages_api``
is the public front; docs/messages-double.md says what is exact, and what is only near.

==================  ==============================================================
``refusals``        the errors of the API
``traits``          what is known of each model: limits, thinking, cache minimum
``request``         a request, read: blocks with their paths, roles merged
``shapes``          strict types, derived from the SDK's own
``rules``           what a conversation must hold to
``media``           what an image block must hold to
``thinking``        signatures, and when thinking is on
``binding``         thinking holds only in the conversation that it was made in
``tokens``          how many tokens a block is
``caching``         the prompt cache
``editing``         context editing: old tool results and thinking
``compaction``      a long conversation replaced by its summary
``summarizing``     a signed summary on demand
``script``          what a model answers
``faults``          what may go wrong, by script or by seeded chance
``models``          models: scripted, a function, a replayed recording
``answer``          an answer cut to its limits, as a message with usage
``events``          a message as server-sent events
``double``          the ASGI application
``delivery``        how an answer goes out, faults included
``recording``       a proxy that records real exchanges without keys
``serving``         the application on a loopback port
==================  ==============================================================
"""
