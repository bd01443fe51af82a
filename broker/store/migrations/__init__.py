"""Migrations of the gate's database, run by ``broker/store/migrate.py``."""
