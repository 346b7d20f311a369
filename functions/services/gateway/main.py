"""The gateway (:8000): ingest, uploads, assets, campaigns, renders, changes, flows, predictions."""

from geminivideo.runtime.http import Api
from geminivideo.services import (
    assets,
    campaigns,
    change_control,
    changes,
    decision_gate,
    drive,
    flows_view,
    hubspot,
    insights_intake,
    intake,
    model_control,
    prediction,
    promotion_control,
    renders,
    shared_patterns,
    storyboard,
    video_process,
)

api = Api("gateway")

api.post("/api/ingest/local/folder", body=intake.FolderIngest, answer=intake.Ingested)(
    intake.ingest_folder
)
api.post("/api/ingest/drive/folder", body=drive.DriveIngest, answer=drive.DriveIngested)(
    drive.ingest_drive
)
api.post("/api/uploads", body=intake.UploadRequest, answer=intake.Upload)(intake.start_upload)
assets.serve(api, prefix="/api")
api.post("/api/score/storyboard", body=storyboard.Storyboard, answer=storyboard.Scored)(
    storyboard.score_storyboard
)
api.post("/api/campaigns", body=campaigns.NewCampaign, answer=campaigns.CampaignCreated)(
    campaigns.create_campaign
)
api.get("/api/campaigns/{id}", answer=campaigns.CampaignView)(campaigns.show_campaign)
api.get("/api/render/jobs/{id}", answer=renders.RenderJobView)(renders.show_job)
api.post("/api/pending-ad-changes", body=changes.NewChange, answer=changes.ChangeQueued)(
    changes.queue_change
)
changes.serve_lists(api)
change_control.serve(api)
hubspot.serve(api)
insights_intake.serve(api)
decision_gate.serve(api)
api.get("/api/flows", answer=flows_view.Flows, query=("kind", "status", "limit"))(
    flows_view.list_flows
)
api.get("/api/flows/{id}", answer=flows_view.FlowView)(flows_view.show_flow)
prediction.serve(api)
model_control.serve(api)
promotion_control.serve(api)
shared_patterns.serve_consents(api)
video_process.serve(api)

main = api.entry()
