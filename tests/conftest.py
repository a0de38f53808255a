"""Fixtures that every test may use; each lives in a module named after what it starts."""

import os
import sys
import tempfile
from pathlib import Path

# Tests start hundreds of Python processes. A shell that wants no bytecode beside the sources gets
# none, and yet no process compiles some 700 modules anew, for most of a second.
if os.environ.get("PYTHONDONTWRITEBYTECODE") and "PYTHONPYCACHEPREFIX" not in os.environ:
    BYTECODE = str(Path(tempfile.gettempdir()) / f"crossdock-bytecode-{os.getuid()}")
    del os.environ["PYTHONDONTWRITEBYTECODE"]
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = BYTECODE
    sys.dont_write_bytecode = False

pytest_plugins = ["fixtures_nats", "fixtures_hub"]
