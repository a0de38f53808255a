"""LTL freight: bills of lading with our own PRO numbers by REST, everything else by X12."""
