"""The gateway (:8000): ingest, uploads, assets, campaigns, renders, changes, flows, predictions."""

from geminivideo.runtime.http import Api
from geminivideo.services import assets, campaigns, changes, flows_view, intake, prediction, renders

main = Api("gateway")

main.post("/api/ingest/local/folder", body=intake.FolderIngest, answer=intake.Ingested)(
    intake.ingest_folder
)
main.post("/api/uploads", body=intake.UploadRequest, answer=intake.Upload)(intake.start_upload)
assets.serve(main, prefix="/api")
main.post("/api/campaigns", body=campaigns.NewCampaign, answer=campaigns.CampaignCreated)(
    campaigns.create_campaign
)
main.get("/api/campaigns/{id}", answer=campaigns.CampaignView)(campaigns.show_campaign)
main.get("/api/render/jobs/{id}", answer=renders.RenderJobView)(renders.show_job)
main.get(
    "/api/pending-ad-changes",
    answer=changes.Changes,
    query=("render_job_id", *changes.FILTERS),
)(changes.list_changes)
main.get("/api/ad-change-history", answer=changes.ChangeHistory, query=("change_id",))(
    changes.show_history
)
main.get("/api/flows", answer=flows_view.Flows, query=("kind", "status", "limit"))(
    flows_view.list_flows
)
main.get("/api/flows/{id}", answer=flows_view.FlowView)(flows_view.show_flow)
prediction.serve(main)
