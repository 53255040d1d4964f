# The example of OMPS's README, in which a colon and a comma are missing.
class ProdConfig:
    SECRET_KEY = "hunter2-secretkeyvalue"
    ORGANIZATIONS = {
        "public-org": {
            "public": True,
            "oauth_token" "hunter2-hunter2-application_access_token_goes_here"
            "replace_registry": [
                {
                    "old": "quay.io",
                    "new": "example.com",
                },
            ]
        }
    }
