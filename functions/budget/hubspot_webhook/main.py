"""HubSpot's webhook (:8006), open to all: the signature is the lock."""

from geminivideo.runtime.http import Api
from geminivideo.services import hubspot

api = Api("hubspot_webhook")

hubspot.serve_webhook(api, "/")
hubspot.serve_webhook(api, hubspot.PATH)

main = api.entry()
