"""FedEx as a carrier: two-step labels by Open Ship, tracking by Track and by signed callback."""
