"""The HTTP half of a service: connections of a listener read requests, ask a handler, write answers."""
