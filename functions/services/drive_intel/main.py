"""Drive Intel (:8001): folder ingest, assets, clips, search over clips."""

from geminivideo.runtime.http import Api
from geminivideo.services import assets, drive, intake, search

api = Api("drive_intel")

api.post("/ingest/local/folder", body=intake.FolderIngest, answer=intake.Ingested)(
    intake.ingest_folder
)
api.post("/ingest/drive/folder", body=drive.DriveIngest, answer=drive.DriveIngested)(
    drive.ingest_drive
)
assets.serve(api, prefix="")
api.post("/search/clips", body=search.ClipSearch, answer=search.Matches)(search.search_clips)

main = api.entry()
