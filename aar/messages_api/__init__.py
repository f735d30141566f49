"""A fake server for Anthropic's Messages API: the wire contract, without a model behind it.

A ``ModelBackend`` replies: a script or function of a test, the offline researcher, or a recording. All other parts
behave as at the service: validation, pairing, signatures of thinking, prompt cache, context editing and compaction,
usage, server-sent events, errors and faults. ``aar.testing.fake_messages_api`` is the public front;
docs/messages-double.md lists the exact and the approximate parts.

========================  ==============================================================
``request``               parses a request: blocks with their paths, roles merged
``request_headers``       reads method, path, key, version and betas
``schemas``               checks types, derived from the SDK's own
``validation``            checks order of roles, pairs of calls and results, limits
``image_validation``      checks images
``model_specs``           knows each model: limits, thinking, cache minimum
``token_counts``          counts tokens of a block
``replies``               builds a model's replies
``api_errors``            builds the errors of the API
``context/``              prompt cache, context editing, compaction, thinking
``server/app``            the ASGI application
``server/pipeline``       turns a request into its response
``server/model_backends`` models: scripted, a function
``server/response``       cuts a reply to its limits and adds usage
``server/sse_events``     turns a message into server-sent events
``server/transport``      sends a response, faults included
``server/faults``         describes faults, by script or by seeded chance
``server/local_server``   runs the application on a loopback port
========================  ==============================================================
"""
