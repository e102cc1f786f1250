"""What every container of Distillery shares: structures, messages, problems and the app each service is."""

CONTRACT_VERSION = "1.0"
