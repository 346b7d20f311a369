"""Titan Core (:8005): the Director and the Council of Titans."""

from geminivideo.runtime.http import Api
from geminivideo.services import titan

main = Api("titan_core")

main.post("/director/generate", body=titan.DirectorRequest, answer=titan.BattlePlan)(titan.generate)
main.post(
    "/council/evaluate",
    body=titan.CouncilRequest,
    answer=(titan.ScriptVerdict, titan.Evaluations),
)(titan.evaluate)
