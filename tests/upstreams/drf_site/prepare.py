"""``python -m drf_site.prepare``: make the tables, and a user with a token for each ``name=token`` argument."""

import sys

import django
from django.core.management import call_command

django.setup()

from django.contrib.auth.models import User  # noqa: E402 - only after setup
from rest_framework.authtoken.models import Token  # noqa: E402

call_command("migrate", run_syncdb=True, verbosity=0)
for name, token in (each.split("=") for each in sys.argv[1:]):
    Token.objects.get_or_create(key=token, user=User.objects.get_or_create(username=name)[0])
