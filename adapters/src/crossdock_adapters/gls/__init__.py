"""GLS Group: labels for all parcels of a shipment in one call, cancellations, scans by polling."""
