"""Hears of a new object and queues a task about it."""

import base64
import json
import os

import functions_framework
from google.cloud import tasks_v2


def tasks_client() -> tasks_v2.CloudTasksClient:
    """Cloud Tasks; on a local cloud at the address of its environment."""
    host = os.environ.get("CLOUD_TASKS_EMULATOR_HOST")
    if not host:
        return tasks_v2.CloudTasksClient()
    import grpc
    from google.cloud.tasks_v2.services.cloud_tasks.transports import CloudTasksGrpcTransport

    channel = grpc.insecure_channel(host)
    return tasks_v2.CloudTasksClient(transport=CloudTasksGrpcTransport(channel=channel))


@functions_framework.http
def main(request):
    """A push of Pub/Sub: the notification of one finished object."""
    message = request.get_json()["message"]
    found = json.loads(base64.b64decode(message["data"]))
    text = f"{os.environ['GREETING']}, {found['name']}"
    tasks_client().create_task(
        parent=os.environ["QUEUE"],
        task={
            "http_request": {
                "url": os.environ["REMEMBER_URL"],
                "body": json.dumps({"text": text, "of": found["name"]}).encode(),
                "headers": {"Content-Type": "application/json"},
                "oidc_token": {
                    "service_account_email": os.environ["CALLER"],
                    "audience": os.environ["REMEMBER_URL"],
                },
            }
        },
    )
    print(json.dumps({"severity": "INFO", "message": f"queued: {text}"}), flush=True)
    return "", 204
