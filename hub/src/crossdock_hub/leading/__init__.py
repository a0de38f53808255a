"""Which of several hubs on one database leads: does what only one may do at a time."""
