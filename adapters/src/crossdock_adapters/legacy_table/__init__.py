"""A legacy ERP by staging tables: rows out, statuses and errors back."""
