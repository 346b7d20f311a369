"""The ML service (:8004): CTR predictions of scenes."""

from geminivideo.runtime.http import Api
from geminivideo.services import prediction

main = Api("ml_service")

prediction.serve(main)
