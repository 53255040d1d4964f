import os

from omps.settings import DefaultConfig


class ProdConfig(DefaultConfig):
    KOJIHUB_URL = os.environ["KOJIHUB_URL"]
    KOJIROOT_URL = "koji.example.com"
    LOG_LEVEL = "TRACE"
    REQUEST_TIMEOUT = "28"
    DEFAULT_RELEASE_VERSION = "1.0"
    ZIPFILE_MAX_UNCOMPRESSED_SIZE = 2 ** 20
    MAX_CONTENT_LENGTH = 0
    QUAY_PASSWORD = "hunter2"
    REQUEST_RETRIES = None
    if os.environ.get("GATED"):
        GREENWAVE = {"url": "https://greenwave.example.com"}
    GREENWAVE = {"url": "https://user:hunter2@greenwave.example.com", "contxt": "omps_push", "product_version": "c" + "vp"}
    ORGANIZATIONS = {
        "My Org": {"public": True},
        "my.org": {},
        "my_org": {},
        "first": {
            "public": "yes",
            "oauth_token": None,
            "replace_registry": [
                {"old": "quay.io(?=/)", "new": "example.com", "regexp": True},
                {"old": "quay.io"},
                {"old": "quay.io", "new": os.environ["NEW"], "regexp": 1},
                {"old": "quay.io", "new": "example.com", "regex": True},
                "quay.io",
                {"old": "(quay)", "new": "\\2", "regexp": True},
            ],
            "package_name_suffix": "-Suffix",
            "csv_annotations": {"a b": "c", "example.com/a": "{package}", "example.com/b": 1},
            "replace_registies": [],
        },
        "second": {"package_name_suffix": "-a", "repository_suffix": "-b", "csv_annotations": "none", "oauth_token": 17},
        "third": get_organization(),
        "fourth": {"public": True, **others, 5: 6, "public": False},
        "fifth": {"replace_registry": {"old": "quay.io", "new": "example.com"}, "public" "oauth_token": "hunter2"},
        os.environ["ORG"]: {},
    }
    ORGANIZATIONS.update(MORE)
