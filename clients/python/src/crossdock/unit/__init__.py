"""Generated stubs, see proto/; do not edit."""
