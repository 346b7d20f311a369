"""Titan Core (:8005): the Director and the Council of Titans."""

from geminivideo.runtime.http import Api
from geminivideo.services import titan

api = Api("titan_core")

api.post("/director/generate", body=titan.DirectorRequest, answer=titan.BattlePlan)(titan.generate)
api.post(
    "/council/evaluate",
    body=titan.CouncilRequest,
    answer=(titan.ScriptVerdict, titan.Evaluations),
)(titan.evaluate)

main = api.entry()
