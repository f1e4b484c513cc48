import click


@click.command()
def microbenchmark() -> None:
    """x"""
