"""Serves Anthropic's Messages API: the wire contract, without a model behind it.

A ``ModelBackend`` answers: a script or function of a test, the offline researcher, or a recording. Everything around it
happens as at the service: validation, pairing, signatures of thinking, prompt cache, context editing and compaction,
usage, server-sent events, errors and faults. ``aar.testing.fake_messages_api`` is the public front;
docs/messages-double.md says what is exact, and what is only near.

========================  ==============================================================
``request``               parses a request: blocks with their paths, roles merged
``request_headers``       reads method, path, key, version and betas
``schemas``               checks types, derived from the SDK's own
``validation``            checks order of roles, pairs of calls and results, bounds
``image_validation``      checks images
``model_specs``           knows each model: limits, thinking, cache minimum
``token_counts``          counts tokens of a block
``replies``               builds what a model answers
``api_errors``            builds the errors of the API
``context/``              prompt cache, context editing, compaction, thinking
``server/app``            the ASGI application
``server/pipeline``       leads a request to its answer
``server/model_backends`` models: scripted, a function
``server/response``       cuts a reply to its limits and adds usage
``server/sse_events``     turns a message into server-sent events
``server/transport``      sends an answer, faults included
``server/faults``         describes what may go wrong, by script or by seeded chance
``server/local_server``   runs the application on a loopback port
========================  ==============================================================
"""
