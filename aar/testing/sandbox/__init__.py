"""The parts of the sandbox suite; ``aar.testing.sandbox_suite`` puts them together."""
