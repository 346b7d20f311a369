"""The ML service (:8004): CTR predictions of scenes."""

from geminivideo.runtime.http import Api
from geminivideo.services import prediction

api = Api("ml_service")

prediction.serve(api)

main = api.entry()
