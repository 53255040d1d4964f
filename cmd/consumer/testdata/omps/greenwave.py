class ProdConfig:
    GREENWAVE = ("https://greenwave.example.com",)
    REQUEST_TIMEOUT = 1e9
    ORGANIZATIONS = ["myorg"]
