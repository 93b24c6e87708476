"""Monitoring for models: how machine, processes, services and containers do, and what logs say."""
