"""UPS as a carrier: labels, voids, tracking."""
