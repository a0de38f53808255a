"""SAP S/4HANA Cloud as the ERP, over its OData V2 services."""
