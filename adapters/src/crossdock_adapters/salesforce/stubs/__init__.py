"""The wire of Salesforce's Pub/Sub API, generated from pubsub_api.proto by `make contracts`."""
