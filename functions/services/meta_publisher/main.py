"""The Meta publisher's face (:8003): what the SafeExecutor is asked to do, and insights."""

from geminivideo.runtime.http import Api
from geminivideo.services import changes, meta_objects, ml_api

api = Api("meta_publisher")

changes.serve_lists(api)
meta_objects.serve(api)
ml_api.serve(api)

main = api.entry()
