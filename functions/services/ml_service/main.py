"""The ML service (:8004): predictions of scenes, budget splits, stages' worth, videos."""

from geminivideo.runtime.http import Api
from geminivideo.services import (
    accuracy,
    actuals,
    battle_hardened,
    creative_doctor,
    fatigue,
    knowledge,
    learning_cycle,
    oracle,
    pattern_routes,
    prediction,
    promotion,
    rag,
    shared_patterns,
    top_campaigns,
    training_requests,
    video_process,
)

api = Api("ml_service")

accuracy.serve(api)
actuals.serve(api)
battle_hardened.serve(api)
knowledge.serve(api)
learning_cycle.serve(api)
pattern_routes.serve(api)
prediction.serve(api)
promotion.serve(api)
fatigue.serve(api)
oracle.serve(api)
creative_doctor.serve(api)
rag.serve(api)
shared_patterns.serve(api)
top_campaigns.serve(api)
training_requests.serve(api)
video_process.serve(api)

main = api.entry()
