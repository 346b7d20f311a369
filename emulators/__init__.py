"""The local cloud: a Google Cloud on one machine, provisioned from the Pulumi graph."""
