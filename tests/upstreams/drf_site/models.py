"""What it holds."""

import uuid

from django.db import models


class Person(models.Model):
    """A person, numbered by the database."""

    name = models.CharField(max_length=200)
    email = models.EmailField(blank=True)
    phone = models.CharField(max_length=200, blank=True)
    role = models.CharField(max_length=200, blank=True)
    city = models.CharField(max_length=200, blank=True)
    updated_at = models.DateTimeField(auto_now=True)


class Note(models.Model):
    """A note on a person."""

    person = models.ForeignKey(Person, models.CASCADE)
    text = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)


class Gadget(models.Model):
    """A thing whose key is a UUID that the client may choose."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    name = models.CharField(max_length=200)
