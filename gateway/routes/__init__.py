"""The gateway's routes under /v1, a module for what they are of; each has one function that adds them to the app."""
