"""Monitoring for models: say here in one sentence what this service is for."""
