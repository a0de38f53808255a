"""A legacy ERP by SOAP: documents posted under a message id, items asked for."""
