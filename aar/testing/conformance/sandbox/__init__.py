"""The parts of the sandbox suite; ``aar.testing.conformance.sandbox_suite`` puts them together."""
