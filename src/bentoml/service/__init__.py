"""What is offered: the service, its APIs, the document that describes them, and how a service is found."""
