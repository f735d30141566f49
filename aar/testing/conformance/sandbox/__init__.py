"""Parts of the sandbox suite, combined in ``aar.testing.conformance.sandbox_suite``."""
