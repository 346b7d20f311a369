"""The Meta publisher's face (:8003): what the SafeExecutor is asked to do, and insights."""

from geminivideo.runtime.http import Api
from geminivideo.services import (
    accuracy,
    actuals,
    battle_hardened,
    changes,
    creative_doctor,
    fatigue,
    knowledge,
    learning_cycle,
    meta_objects,
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

api = Api("meta_publisher")

api.get(
    "/api/pending-ad-changes",
    answer=changes.Changes,
    query=("render_job_id", *changes.FILTERS),
)(changes.list_changes)
api.get("/api/ad-change-history", answer=changes.ChangeHistory, query=("change_id",))(
    changes.show_history
)
meta_objects.serve(api)
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
