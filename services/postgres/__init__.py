"""PostgreSQL for models: look around, read with SQL, explain, find what is slow or unhealthy."""
