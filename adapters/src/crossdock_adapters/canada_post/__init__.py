"""Canada Post: labels, voids and refunds, scans by polling, all in XML over HTTP."""
