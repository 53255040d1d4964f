"""All that OMPS knew, in two classes."""
import os


class DefaultConfig(object):
    SECRET_KEY = b'hunter2'
    DEBUG = False
    TESTING = False
    LOG_LEVEL = 'WARNING'
    ZIPFILE_MAX_UNCOMPRESSED_SIZE = 1024 * 1024 * 300
    MAX_CONTENT_LENGTH = 1024 * 1024 * 2
    ORGANIZATIONS = {}


class ProdConfig(DefaultConfig):
    log_level = 'critical'
    LOG_FORMAT = ('%(asctime)s - [%(process)d] %(name)s - '
                  '%(levelname)s - %(message)s')
    DEFAULT_RELEASE_VERSION = "2.0.0"
    KOJIHUB_URL = u'https://koji.example.com/kojihub'
    KOJIROOT_URL = \
        'https://koji.example.com/kojifiles'
    REQUEST_TIMEOUT = 7.5
    organizations = {
        'private-org': {},
        'public-org': {
            'public': True,
            'oauth_token': 'hunter2',
            'replace_registry': [
                {'old': r'^(\s*image: )registry\.stage\.(?P<rest>.*)$', 'new': r'\1registry.\g<rest>', 'regexp': True},
                {'old': 'quay.io', 'new': '', 'regexp': False},
            ],
            'package_name_suffix': '-suffix',
            'csv_annotations': [
                {'name': 'example.com/package', 'value': 'the package is {package_name}'},
                {'name': 'example.com/json', 'value': '{{"a": 1}}'},
            ],
        },
        'older-org': {
            'public': False,
            'oauth_token': os.environ['hunter2'],
            'repository_suffix': '-old',
            'csv_annotations': {'example.com/a': 'b'},
            'replace_registry': (),
        },
    }
    GREENWAVE = {
        'url': 'https://greenwave.example.com',
        'context': 'omps_push', 'product_version': 'cvp',
    }
