"""The promises of flask_dualstorage, as tests."""
