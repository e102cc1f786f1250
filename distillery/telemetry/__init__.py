"""Spans for a collector of OpenTelemetry; nothing of it is imported in a process that was not told of one."""
