"""The Video Agent (:8002): the thirteen Pro modules, remixes of a video, and how jobs stand."""

from geminivideo.runtime.http import Api
from geminivideo.services import pro, renders

api = Api("video_agent")

api.post("/api/render/remix", body=renders.Remix, answer=renders.JobStarted)(renders.start_remix)
api.get("/api/render/status/{id}", answer=renders.RenderJobView)(renders.show_job)
pro.serve(api)

main = api.entry()
