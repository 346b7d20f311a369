"""The ML service (:8004): CTR predictions of scenes, budget splits, what stages are worth."""

from geminivideo.runtime.http import Api
from geminivideo.services import battle_hardened, prediction

api = Api("ml_service")

battle_hardened.serve(api)
prediction.serve(api)

main = api.entry()
