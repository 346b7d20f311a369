"""HubSpot's webhook (:8006), open to all: the signature is the lock."""

from geminivideo.runtime.http import Api
from geminivideo.services import hubspot

api = Api("hubspot_webhook")

api.post("/", answer=(hubspot.EventsTaken, hubspot.StageCredited))(hubspot.receive)
api.post(hubspot.PATH, answer=(hubspot.EventsTaken, hubspot.StageCredited))(hubspot.receive)

main = api.entry()
