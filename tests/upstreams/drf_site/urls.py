"""Its addresses: people by each of the three paginators, throttled, with notes; gadgets under the client's UUIDs."""

import os

from django.shortcuts import get_object_or_404
from drf_site.models import Gadget, Note, Person
from rest_framework import pagination, routers, serializers, throttling, viewsets

PAGE = int(os.environ["DRF_PAGE"])


class PersonSerializer(serializers.ModelSerializer):
    class Meta:
        model = Person
        fields = ("id", "name", "email", "phone", "role", "city", "updated_at")


class NoteSerializer(serializers.ModelSerializer):
    class Meta:
        model = Note
        fields = ("id", "text", "person", "created_at")
        read_only_fields = ("person",)


class GadgetSerializer(serializers.ModelSerializer):
    id = serializers.UUIDField(required=False)

    class Meta:
        model = Gadget
        fields = ("id", "name")

    def validate_id(self, value):
        if self.instance is None and Gadget.objects.filter(id=value).exists():
            raise serializers.ValidationError("gadget with this id already exists.")
        return value


class Numbered(pagination.PageNumberPagination):
    page_size = PAGE


class Offset(pagination.LimitOffsetPagination):
    default_limit = PAGE


class Cursor(pagination.CursorPagination):
    page_size = PAGE
    ordering = "id"


class People(viewsets.ModelViewSet):
    """By page number, as most sites have it."""

    queryset = Person.objects.order_by("id")
    serializer_class = PersonSerializer
    pagination_class = Numbered
    filterset_fields = ("name",)


class PeopleByOffset(People):
    pagination_class = Offset


class PeopleByCursor(People):
    pagination_class = Cursor


class PeopleAtOnce(People):
    """The whole list as a bare array, and at most three requests a minute."""

    pagination_class = None
    throttle_classes = (throttling.UserRateThrottle,)


class Notes(viewsets.ModelViewSet):
    """The notes on one person."""

    serializer_class = NoteSerializer
    pagination_class = Numbered

    def get_queryset(self):
        return Note.objects.filter(person=self.person()).order_by("id")

    def perform_create(self, serializer):
        serializer.save(person=self.person())

    def person(self):
        return get_object_or_404(Person, id=self.kwargs["person_id"])


class Gadgets(viewsets.ModelViewSet):
    queryset = Gadget.objects.order_by("name")
    serializer_class = GadgetSerializer


router = routers.DefaultRouter()
router.register("people", People, "people")
router.register("people-by-offset", PeopleByOffset, "people-by-offset")
router.register("people-by-cursor", PeopleByCursor, "people-by-cursor")
router.register("throttled-people", PeopleAtOnce, "throttled-people")
router.register(r"people/(?P<person_id>\d+)/notes", Notes, "notes")
router.register("gadgets", Gadgets, "gadgets")

urlpatterns = router.urls
