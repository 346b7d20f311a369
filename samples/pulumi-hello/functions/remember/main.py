"""Writes a greeting beside the object that it is about."""

import os

import functions_framework
from google.cloud import storage


@functions_framework.http
def main(request):
    """A task: the text, and the name of the object it is about."""
    task = request.get_json()
    if not task["of"].endswith(".greeting"):  # our own file is an arrival, too
        blob = storage.Client().bucket(os.environ["INBOX"]).blob(f"{task['of']}.greeting")
        blob.upload_from_string(task["text"])
    return "", 204
