"""The Video Agent (:8002): remixes of a video, and the state of render jobs."""

from geminivideo.runtime.http import Api
from geminivideo.services import renders

main = Api("video_agent")

main.post("/api/render/remix", body=renders.Remix, answer=renders.JobStarted)(renders.start_remix)
main.get("/api/pro/job/{id}", answer=renders.RenderJobView)(renders.show_job)
main.get("/api/render/status/{id}", answer=renders.RenderJobView)(renders.show_job)
