"""Takes what is finished and old out of the database, into files that are read without a hub."""
