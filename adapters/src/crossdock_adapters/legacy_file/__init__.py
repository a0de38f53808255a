"""A legacy ERP that takes and gives flat files."""
