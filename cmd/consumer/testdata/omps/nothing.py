class ProdConfig:
    """Nothing but what there is by itself."""
