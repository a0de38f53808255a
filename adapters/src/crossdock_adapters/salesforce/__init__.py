"""Salesforce Order Management: fulfillment orders in by Pub/Sub, picks, shipments, invoices out."""
