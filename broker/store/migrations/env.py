"""Alembic's entry: runs the migrations on the one connection that ``migrate.py`` hands over, inside its transaction."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    transactional_ddl=True,
    parts=context.config.attributes["parts"],
)
with context.begin_transaction():
    context.run_migrations()
