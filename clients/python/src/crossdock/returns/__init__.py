"""Generated from proto/ by `make contracts`; do not edit."""
