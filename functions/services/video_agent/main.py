"""The Video Agent (:8002): remixes of a video, and the state of render jobs."""

from geminivideo.runtime.http import Api
from geminivideo.services import pro, renders

api = Api("video_agent")

api.post("/api/render/remix", body=renders.Remix, answer=renders.JobStarted)(renders.start_remix)
api.get("/api/pro/job/{id}", answer=renders.RenderJobView)(renders.show_job)
api.get("/api/render/status/{id}", answer=renders.RenderJobView)(renders.show_job)
api.get("/api/pro/health", answer=pro.ProHealth)(pro.health_of(api))

main = api.entry()
