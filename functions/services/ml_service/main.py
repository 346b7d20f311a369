"""The ML service (:8004): predictions of scenes, budget splits, stages' worth, videos."""

from geminivideo.runtime.http import Api
from geminivideo.services import ml_api

api = Api("ml_service")

ml_api.serve(api)

main = api.entry()
