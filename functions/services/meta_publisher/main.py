"""The Meta publisher's face (:8003): what the SafeExecutor is asked to do, and insights."""

from geminivideo.runtime.http import Api
from geminivideo.services import (
    accuracy,
    actuals,
    battle_hardened,
    changes,
    learning_cycle,
    meta_objects,
    prediction,
    promotion,
    rag,
    shared_patterns,
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
learning_cycle.serve(api)
prediction.serve(api)
promotion.serve(api)
rag.serve(api)
shared_patterns.serve(api)
video_process.serve(api)

main = api.entry()
