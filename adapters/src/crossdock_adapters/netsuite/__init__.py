"""Oracle NetSuite in the role of the ERP: master data in, sales orders and goods issues out."""
