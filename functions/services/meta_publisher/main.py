"""The Meta publisher's face (:8003): what the SafeExecutor was asked to do and did."""

from geminivideo.runtime.http import Api
from geminivideo.services import changes, prediction

api = Api("meta_publisher")

api.get(
    "/api/pending-ad-changes",
    answer=changes.Changes,
    query=("render_job_id", *changes.FILTERS),
)(changes.list_changes)
api.get("/api/ad-change-history", answer=changes.ChangeHistory, query=("change_id",))(
    changes.show_history
)
prediction.serve(api)

main = api.entry()
