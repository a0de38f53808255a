"""The conformance kit: the same checks for any endpoint, at its sandbox, over real sockets.

    subject     what the adapter's conformance.py tells: cases, ways in, settings
    stage       one running world: sandbox, hub and endpoint
    checks_*    the checks, one function each; its first docstring line says what it proves
    conforming  runs them all
    report      what people and programs read of it

The rest of the SDK imports nothing of this package: it is for tests and for the command line.
"""
