"""Drive Intel (:8001): folder ingest, assets, clips, search over clips."""

from geminivideo.runtime.http import Api
from geminivideo.services import assets, intake, search

main = Api("drive_intel")

main.post("/ingest/local/folder", body=intake.FolderIngest, answer=intake.Ingested)(
    intake.ingest_folder
)
assets.serve(main, prefix="")
main.post("/search/clips", body=search.ClipSearch, answer=search.Matches)(search.search_clips)
